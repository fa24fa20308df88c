"""`shaper profiles`: the profiles, and the contents of each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from shaper.cli.options import Json, profile_names

if TYPE_CHECKING:
    from rich.console import Console

    from shaper.spec.profiles import Profile

EXAMPLES = (
    "shaper profiles",
    "shaper profiles satellite_geo",
    "shaper profiles ./mobile.toml",
    "shaper run --profile 3g -- curl …",
)


def profiles(
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME|FILE", help="A profile, as for --profile.", autocompletion=profile_names),
    ] = None,
    json: Json = None,
) -> None:
    """List the profiles of networks to imitate, such as 3g, or show one.

    A profile is a file.toml with a pipeline. Optional are about, source, date, seed, and a
    table [match] with interface, hook, protocol, port, source, destination, host and filter.
    """
    from shaper.report.output import console, write_json
    from shaper.report.table import table
    from shaper.spec.profiles import find, names

    out = console(json, is_listing=True)
    if name is None:
        found = [find(one) for one in names()]
        out.print(table(("Profile", "What it is like", "As of"), [(one.name, one.about, one.date) for one in found]))
        out.print(
            "\nshaper profiles NAME shows a profile with its policies and the source of its numbers.", markup=False
        )
    else:
        found = [find(name)]
        show(out, found[0], name)
    write_json({"v": 1, "profiles": [document(one) for one in found]}, json)


def show(out: Console, profile: Profile, given: str) -> None:
    """Print the contents of a profile, and how to use it."""
    out.print(f"{profile.name}\n", style="bold")
    for text in (
        profile.about,
        profile.source and f"Source: {profile.source}",
        profile.date and f"As of {profile.date}",
    ):
        if text:
            out.print(f"{text}\n", markup=False)
    out.print("Policies", style="bold")
    from shaper.spec.scenario import Phase
    from shaper.units import format_duration

    phases = profile.scenario.phases if profile.scenario else (Phase(profile.pipeline, 0),)
    for phase in phases:
        if profile.scenario:
            out.print(f" for {format_duration(phase.lasts)}" if phase.lasts else " from then on", markup=False)
        for spec in phase.specs:
            out.print(f"  {spec}", markup=False, soft_wrap=True)
    if profile.scenario and profile.scenario.repeat:
        out.print(" then again from the first one", markup=False)
    settings = {**profile.match, "seed": profile.seed}
    for key, value in settings.items():
        if value is not None:
            text = ", ".join(map(str, value)) if isinstance(value, list) else value
            out.print(f"{key}: {text}", markup=False)
    out.print("\nExample", style="bold")
    out.print(f"  shaper run --profile {given} -- COMMAND", markup=False, soft_wrap=True)


def document(profile: Profile) -> dict[str, Any]:
    """A profile as JSON, see schemas/profiles.json."""
    return {
        "name": profile.name,
        "about": profile.about,
        "source": profile.source,
        "date": profile.date,
        "pipeline": list(profile.pipeline),
        "match": dict(profile.match),
        "seed": profile.seed,
        "phases": [
            {"policies": list(phase.specs), "for_ns": phase.lasts or None}
            for phase in (profile.scenario.phases if profile.scenario else ())
        ],
        "repeat": profile.scenario is not None and profile.scenario.repeat,
    }
