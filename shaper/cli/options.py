"""Options that several commands share, said once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from shaper.core.core import MAX_HOLD
from shaper.errors import UsageError
from shaper.units import format_duration, parse_duration

if TYPE_CHECKING:
    from shaper.spec.profiles import Profile

PROFILE = "shaper.profile"
"""Under this name the parser keeps the profile that was given."""


def duration(text: str | int) -> int:
    """Reads an option such as `--max-hold 2s`; ns. A default comes as a number."""
    try:
        return text if isinstance(text, int) else parse_duration(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def policy_names(incomplete: str) -> list[str]:
    """For the shell's completion of a SPEC."""
    from shaper.spec.load import builtin_names

    return [name for name in builtin_names() if name.startswith(incomplete)]


def profile_names(incomplete: str) -> list[str]:
    """For the shell's completion of a profile."""
    from shaper.spec.profiles import names

    return [name for name in names() if name.startswith(incomplete)]


def drawable(file: Path | None) -> Path | None:
    """A figure's file, before the work for it is done; see `shaper.report.figure.write.check`."""
    if file is not None:
        from shaper.report.figure.write import check

        check(file)
    return file


def given_profile(context: typer.Context) -> Profile | None:
    found: Profile | None = context.meta.get(PROFILE)
    return found


def take_profile(context: typer.Context, name: str | None) -> str | None:
    """What the profile says stands where the command line says nothing."""
    if name is not None and not context.resilient_parsing:
        from shaper.spec.profiles import find

        profile = context.meta[PROFILE] = find(name)
        defaults = {**profile.match, "expression": profile.match.get("filter"), "seed": profile.seed}
        context.default_map = {key: value for key, value in defaults.items() if value is not None}
    return name


def pipeline(context: typer.Context, policies: list[str]) -> list[str]:
    """The profile's policies, then those of the command line."""
    profile = given_profile(context)
    specs = [*(profile.pipeline if profile else ()), *policies]
    if not specs and not context.resilient_parsing:
        raise UsageError(f"Missing option '--policy' or '--profile'; see `{context.command_path} --help`")
    return specs


Policies = Annotated[
    list[str],
    typer.Option(
        "--policy",
        metavar="SPEC",
        default_factory=list,
        show_default=False,
        callback=pipeline,
        help="What to do with the packets: NAME[:option=value,…], or a file.py; "
        "several make a pipeline. See `shaper policies`. This, --profile or both are needed.",
        autocompletion=policy_names,
    ),
]
ProfileName = Annotated[
    str | None,
    typer.Option(
        "--profile",
        metavar="NAME|FILE",
        is_eager=True,
        callback=take_profile,
        help="Begin with the policies of a profile, a built-in or a file.toml; its match and seed hold "
        "unless given here. See `shaper profiles`.",
        autocompletion=profile_names,
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

FigureFile = Annotated[
    Path | None,
    typer.Option("--figure", metavar="FILE", callback=drawable, help="Draw it: FILE ends in .svg, .png or .html."),
]
