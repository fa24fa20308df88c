"""How commands name a shaper that is running, and how a shell completes its name, its stages and their options."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shaper.errors import ShaperError

if TYPE_CHECKING:
    from shaper.control.client import Client

HELP = "The shaper, by its name or the URL of its --listen; not needed if only one is running."
BREAKS = (":", "=")
"""Where bash ends a word that it completes, see COMP_WORDBREAKS in bash(1)."""


def running_names(incomplete: str) -> list[str]:
    """The shell's completions of a shaper's name."""
    from shaper.control.listen import running

    return [name for name in running() if name.startswith(incomplete)]


Name = Annotated[
    str | None, typer.Argument(metavar="NAME", help=HELP, show_default=False, autocompletion=running_names)
]
NameOption = Annotated[str | None, typer.Option("--name", metavar="NAME", help=HELP, autocompletion=running_names)]


def connect(name: str | None) -> Client:
    """The running shaper of this name; without a name, the one that is running.

    Raises:
        ShaperError: there is none.
        UsageError: there are several, and none was named.
    """
    from shaper.control.client import Client

    return Client(name)


def changes(context: typer.Context, incomplete: str) -> list[str]:
    """The shell's completions of STAGE:option=value."""
    return changes_of(context.params.get("name"), incomplete)


def changes_of(name: str | None, incomplete: str) -> list[str]:
    """What this word may become, for the shaper of this name: each option with the value that is in force."""
    before, word = _begun(incomplete)
    options, comma, _ = word.rpartition(",")
    stages: list[dict[str, Any]] = []
    with suppress(ShaperError):
        stages = connect(name).pipeline()
    found = []
    for stage in stages:
        start = f"{options}," if comma else f"{stage['name']}:"
        if start.startswith(f"{stage['name']}:"):
            found += [f"{start}{option}={value}" for option, value in stage["options"].items()]
    return [one.removeprefix(before) for one in found if one.startswith(word)]


def _begun(incomplete: str) -> tuple[str, str]:
    """What of the current word stands before the part that the shell completes, and the word as far as it was typed.

    Bash has cut it into several words, and says what they are in COMP_WORDS.
    """
    at = int(os.environ.get("COMP_CWORD", 0))
    words = os.environ.get("COMP_WORDS", "").split("\n")[: at + 1]
    if len(words) < 2:
        return "", incomplete
    first = len(words) - 1
    while first > 1 and (words[first] in BREAKS or words[first - 1] in BREAKS):
        first -= 1
    word = "".join(words[first:])
    return (word if words[-1] in BREAKS else word.removesuffix(words[-1])), word
