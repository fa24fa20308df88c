"""`shaper new`: a policy file to start from, and a test for it; or a first test on a bad network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from shaper.errors import UsageError
from shaper.report.output import say

EXAMPLES = (
    "shaper new my_policy.py",
    "shaper check my_policy.py",
    "shaper run --policy ./my_policy.py -- curl localhost:8000",
    "shaper new --test test_network.py",
)


def new(
    file: Annotated[Path, typer.Argument(metavar="FILE.py", help="The file to write; a policy is named after it.")],
    test: Annotated[bool, typer.Option("--test", help="Write tests for pytest that run on a bad network.")] = False,
) -> None:
    """Write a small policy to start from, with comments and a test.

    With --test, write tests for pytest instead, which run on a bad network.
    """
    from importlib.resources import files
    from string import Template

    if file.suffix != ".py" or not file.stem.isidentifier():
        raise UsageError(f"'{file}' can't name a policy; choose a name such as my_policy.py")
    if test and not file.name.startswith("test_"):
        raise UsageError(f"pytest does not find '{file}'; choose a name such as test_{file.name}")
    own_test = file.with_name(f"test_{file.name}")
    wanted = {file: "network_test.py.in"} if test else {file: "policy.py.in", own_test: "test.py.in"}
    for path in wanted:
        if path.exists():
            raise UsageError(f"{path} exists already; choose another name")
    values = {"name": file.stem, "Name": "".join(word.title() for word in file.stem.split("_")), "file": file.name}
    for path, source in wanted.items():
        text = files("shaper.cli.templates").joinpath(source).read_text()
        path.write_text(Template(text).substitute(values))
        say(f"wrote {path}")
    say(f"try it: pytest {file}" if test else f"try it: shaper check {file}")
