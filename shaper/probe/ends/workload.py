"""Workload: what a client and a server do with each other, and how a workload is found by its name.

    class Ping(Workload):
        rounds: int = 3
        \"\"\"How often.\"\"\"

        def server(self, end): ...
        def client(self, end): ...

One workload per file; the file's name is the workload's name. Options are public annotated
class attributes, as in a policy.
"""

from __future__ import annotations

import importlib
from importlib.resources import files
from inspect import get_annotations
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shaper.errors import UsageError
from shaper.policy.options import options_of
from shaper.spec.lint import unannotated
from shaper.spec.load import load_file, split_options, suggest

if TYPE_CHECKING:
    from shaper.probe.ends.end import End

WORKLOADS = "shaper.probe.workloads"


class Workload:
    """What the two processes do; options are given as keyword arguments."""

    def __init__(self, **options: Any) -> None:
        for name, value in options.items():
            setattr(self, name, value)

    def server(self, end: End) -> None:
        """What the server's process does. The client starts once it calls `end.listen()` or `end.accept()`."""
        raise NotImplementedError

    def client(self, end: End) -> None:
        """What the client's process does."""
        raise NotImplementedError

    @classmethod
    def option_names(cls) -> list[str]:
        """The names of its options; see `shaper.policy.options`."""
        return [name for base in cls.__mro__ for name in get_annotations(base) if not name.startswith("_")]


def names() -> list[str]:
    """The names of all workloads that come with shaper."""
    return sorted(file.name.removesuffix(".py") for file in files(WORKLOADS).iterdir() if file.name[0] not in "_.")


def load(spec: str) -> Workload:
    """The workload that NAME[:option=value,…] or FILE.py[:option=value,…] names.

    Raises:
        UsageError: no such workload, or an option or value that it doesn't have.
    """
    head, _, text = spec.partition(":")
    if head.endswith(".py"):
        module = load_file(Path(head))
    elif head in names():
        module = importlib.import_module(f"{WORKLOADS}.{head}")
    else:
        raise UsageError(f"there is no workload '{head}'{suggest(head, names())}; there are {', '.join(names())}")
    own: list[type[Workload]] = [value for value in vars(module).values() if _is_own(value, module.__name__)]
    if len(own) != 1:
        raise UsageError(f"{head} must define one subclass of Workload, it defines {len(own)}")
    if mistake := unannotated(own[0]):
        raise UsageError(f"{head}: {mistake}")
    known = options_of(own[0])
    values: dict[str, Any] = {}
    for name, value in split_options(text, None, head):
        if name not in known:
            raise UsageError(
                f"{head} has no option '{name}'{suggest(name, known)}; it has {', '.join(known) or 'none'}"
            )
        if name in values:
            raise UsageError(f"{head}: option {name} is given twice; the second time as '{value}'")
        try:
            values[name] = known[name].parse(value)
        except ValueError as error:
            raise UsageError(f"{head}: option {name}: {error}") from None
    return own[0](**values)


def _is_own(value: object, module: str) -> bool:
    return isinstance(value, type) and issubclass(value, Workload) and value.__module__ == module
