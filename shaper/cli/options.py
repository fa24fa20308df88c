"""Options that several commands share, said once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from shaper.core import MAX_HOLD
from shaper.report.output import STDOUT
from shaper.units import format_duration, parse_duration


def duration(text: str | int) -> int:
    """Reads an option such as `--max-hold 2s`; ns. A default comes as a number."""
    try:
        return text if isinstance(text, int) else parse_duration(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def policy_names(incomplete: str) -> list[str]:
    """For the shell's completion of a SPEC."""
    from shaper.load import builtin_names

    return [name for name in builtin_names() if name.startswith(incomplete)]


Policies = Annotated[
    list[str],
    typer.Option(
        "--policy",
        metavar="SPEC",
        help="What to do with the packets: NAME[:option=value,…], or a file.py; "
        "several make a pipeline. See `shaper policies`.",
        autocompletion=policy_names,
    ),
]
Seed = Annotated[str, typer.Option(metavar="TEXT", help="Decides all chance: the same seed, the same fates.")]
MaxHold = Annotated[
    int,
    typer.Option(
        metavar="TIME",
        parser=duration,
        show_default=False,
        help=f"Hold no packet longer than this. [default: {format_duration(MAX_HOLD)}]",
    ),
]
Json = Annotated[
    Path | None,
    typer.Option("--json", metavar="[FILE]", help="Write the result as JSON, to standard output if FILE is not given."),
]


def examples(lines: Sequence[str]) -> str:
    """The end of a command's help."""
    return "\n".join(["\b", "Examples:", *(f"  {line}" for line in lines)])


def with_bare_json(arguments: Sequence[str]) -> list[str]:
    """Typer has no options whose value may be left out, so a `--json` without one is given `-`."""
    given = []
    for argument, following in zip(arguments, [*arguments[1:], "--"], strict=False):
        is_bare = argument == "--json" and following.startswith("-") and following != str(STDOUT)
        given.append(f"--json={STDOUT}" if is_bare else argument)
    return given
