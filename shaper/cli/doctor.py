"""`shaper doctor`: what shaper needs on this machine, the commands for what is missing, and what makes packets late."""

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
    status is 1 if something is missing that `shaper start` needs. What makes packets late
    now and then is no fault: clock rates and sleep of CPUs, and others that use them.
    """
    from rich.table import Table
    from rich.text import Text

    from shaper.doctor.lateness import cpu_times, hints
    from shaper.doctor.requirements import requirements
    from shaper.linux.capabilities import take
    from shaper.report.output import console, write_json

    take()
    before = cpu_times()
    found = list(requirements())
    late = list(hints(before))
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
    if late:
        out.print("\nWhat makes some packets late here:")
    for hint in late:
        lines = f"  {hint.name}: {hint.found}\n    {hint.effect}\n    {hint.mend}"
        out.print(lines, markup=False, soft_wrap=True)
    document = {
        "version": VERSION,
        "requirements": [asdict(each) for each in found],
        "lateness": [asdict(each) for each in late],
    }
    write_json(document, json)
    return int(any(each.status == "missing" and each.needed_by == "start" for each in found))
