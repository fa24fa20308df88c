"""`shaper policies`: the policies, and what each of them does."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from shaper.cli.options import Json, policy_names

EXAMPLES = (
    "shaper policies",
    "shaper policies spread_burst",
    "shaper policies ./drop_third.py",
)


def policies(
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="A policy, as for --policy, without options.", autocompletion=policy_names),
    ] = None,
    json: Json = None,
) -> int:
    """List the policies, or show one with its options."""
    from shaper.report import manual
    from shaper.report.output import console, write_json

    out = console(json, is_listing=True)
    faults: list[str] = []
    if name is None:
        entries, faults = manual.entries()
        manual.print_list(out, entries)
    else:
        entries = [manual.entry_of(name)]
        manual.print_page(out, entries[0])
    write_json(manual.as_json(entries), json)
    for fault in faults:
        print(f"shaper: {fault}", file=sys.stderr)
    return 1 if faults else 0
