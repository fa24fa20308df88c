"""`shaper doctor`: what shaper needs on this machine, and the commands for what is missing."""

from __future__ import annotations

from dataclasses import asdict

from shaper.cli.options import Json

EXAMPLES = (
    "sudo shaper doctor",
    "shaper doctor --json | jq '.requirements[] | select(.status == \"missing\")'",
)
STYLES = {"ok": "green", "missing": "red", "unknown": "yellow"}
VERSION = 1


def doctor(json: Json = None) -> int:
    """Check what shaper lacks on this machine, and how to install it.

    Everything is tried in a separate network namespace, so nothing is changed. The exit
    status is 1 if something is missing that `shaper start` needs.
    """
    from rich.table import Table
    from rich.text import Text

    from shaper.doctor.requirements import requirements
    from shaper.linux.capabilities import take
    from shaper.report.output import console, write_json

    take()
    found = list(requirements())
    table = Table("requirement", "for", "status", "found", box=None, pad_edge=False)
    for each in found:
        table.add_row(each.name, each.needed_by, Text(each.status, STYLES[each.status]), each.found)
    out = console(json, is_listing=True)
    out.print(table)
    lacking = [each for each in found if each.mend]
    if lacking:
        out.print("\nTo fix it:")
    for each in lacking:
        out.print(f"  {each.name}: {each.mend}", markup=False, soft_wrap=True)
    write_json({"version": VERSION, "requirements": [asdict(each) for each in found]}, json)
    return int(any(each.status == "missing" and each.needed_by == "start" for each in found))
