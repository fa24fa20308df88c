"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from shaper.cli.parsing import JSON
from shaper.core.core import MAX_HOLD
from shaper.errors import UsageError
from shaper.topology import ends
from shaper.units import format_duration, parse_duration

if TYPE_CHECKING:
    from shaper.spec.profiles import Profile
    from shaper.spec.scenario import Scenario

PROFILE = "shaper.profile"
"""The key of the given profile in the parser's context."""
SCENARIO = "shaper.scenario"
"""The key of its scenario."""


def duration(text: str | int) -> int:
    """Parse the value of an option such as `--max-hold 2s`, in ns; a default is a number already."""
    try:
        return text if isinstance(text, int) else parse_duration(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def policy_names(incomplete: str) -> list[str]:
    """The shell's completions of a SPEC."""
    from shaper.spec.load import builtin_names

    return [name for name in builtin_names() if name.startswith(incomplete)]


def profile_names(incomplete: str) -> list[str]:
    """The shell's completions of a profile."""
    from shaper.spec.profiles import names

    return [name for name in names() if name.startswith(incomplete)]


def drawable(file: Path | None) -> Path | None:
    """Check the file for a figure before the work for it begins; see `shaper.report.figure.write.check`."""
    if file is not None:
        from shaper.report.figure.write import check

        check(file)
    return file


def given_profile(context: typer.Context) -> Profile | None:
    """The profile of --profile."""
    found: Profile | None = context.meta.get(PROFILE)
    return found


def given_scenario(context: typer.Context) -> Scenario | None:
    """The scenario of --profile, with the policies of --policy in each phase; None if the profile has none."""
    found: Scenario | None = context.meta.get(SCENARIO)
    return found


def take_profile(context: typer.Context, name: str | None) -> str | None:
    """The callback of --profile: its match and seed become the defaults of the command's options."""
    if name is not None and not context.resilient_parsing:
        from shaper.spec.profiles import find

        profile = context.meta[PROFILE] = find(name)
        defaults = {**profile.match, "expression": profile.match.get("filter"), "seed": profile.seed}
        context.default_map = {key: value for key, value in defaults.items() if value is not None}
    return name


def pipeline(context: typer.Context, policies: list[str]) -> list[str]:
    """The callback of --policy: as `optional_pipeline`, but there must be some.

    Raises:
        UsageError: there are none.
    """
    specs = optional_pipeline(context, policies)
    if not specs and not context.resilient_parsing:
        raise UsageError(f"Missing option '--policy' or '--profile'; see `{context.command_path} --help`")
    return specs


def optional_pipeline(context: typer.Context, policies: list[str] | None) -> list[str]:
    """The callback of --policy: the policies of the profile, or of its first phase, then those of the command line."""
    profile = given_profile(context)
    if profile is None:
        return policies or []
    specs, context.meta[SCENARIO] = profile.followed_by(policies or [])
    return list(specs)


Policies = Annotated[
    list[str],
    typer.Option(
        "--policy",
        "-p",
        metavar="SPEC[ | SPEC…]",
        default_factory=list,
        show_default=False,
        callback=pipeline,
        help="Shape the packets with this policy: NAME[:option=value,…], or a file.py. May be repeated: what the "
        "first one sends, the next one receives. See `shaper policies`. Needed unless --profile is given.",
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
        help="Imitate a network with this profile: a built-in one, or a file.toml. Other options override its "
        "match and seed; each --policy comes after its policies. See `shaper profiles`.",
        autocompletion=profile_names,
    ),
]
Seed = Annotated[
    str,
    typer.Option(metavar="TEXT", help="The seed of all randomness: the same seed and packets give the same result."),
]
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
    typer.Option(JSON, metavar="[=FILE]", help="Write the result as JSON to FILE; without =FILE, to standard output."),
]

Offload = Annotated[
    ends.Offload,
    typer.Option(help="off: a sender cuts and checksums its segments itself, instead of leaving that to its link."),
]
FigureFile = Annotated[
    Path | None,
    typer.Option(
        "--figure",
        metavar="FILE",
        callback=drawable,
        help="Draw the result; FILE ends in .svg, .png or .html, a page to explore.",
    ),
]
