"""`shaper new`: a policy file to start from, and a test for it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from shaper.errors import UsageError

EXAMPLES = (
    "shaper new my_policy.py",
    "shaper check my_policy.py",
    "shaper run --policy ./my_policy.py -- curl localhost:8000",
)


def new(
    file: Annotated[Path, typer.Argument(metavar="FILE.py", help="The file to write; the policy is named after it.")],
) -> None:
    """Write a small policy to start from, with comments and a test."""
    from importlib.resources import files
    from string import Template

    if file.suffix != ".py" or not file.stem.isidentifier():
        raise UsageError(f"'{file}' can't name a policy; choose a name such as my_policy.py")
    test = file.with_name(f"test_{file.name}")
    for path in (file, test):
        if path.exists():
            raise UsageError(f"{path} exists already; choose another name")
    values = {"name": file.stem, "Name": "".join(word.title() for word in file.stem.split("_")), "file": file.name}
    for path, source in ((file, "policy.py.in"), (test, "test.py.in")):
        text = files("shaper.cli.templates").joinpath(source).read_text()
        path.write_text(Template(text).substitute(values))
        print(f"wrote {path}")
    print(f"try it: shaper check {file}")
