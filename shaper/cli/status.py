"""`shaper status`: what a running shaper does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shaper.cli.options import Json
from shaper.cli.running import Name, connect

if TYPE_CHECKING:
    from rich.console import Console

EXAMPLES = (
    "shaper status",
    "shaper status web --json | jq .held",
)


def status(name: Name = None, json: Json = None) -> None:
    """Show what a running shaper does: pipeline, counts, lateness.

    `shaper top` shows this and the flows, and goes on showing it.
    """
    from shaper.report.output import console, write_json

    shaper = connect(name)
    state, stages = shaper.status(), shaper.pipeline()
    show(console(json, is_listing=True), state, stages)
    write_json({"v": 1, **state, "pipeline": stages}, json)


def show(out: Console, state: dict[str, Any], stages: list[dict[str, Any]]) -> None:
    """Print the state of a shaper."""
    import time
    from datetime import datetime

    from shaper.report.table import table
    from shaper.top.stage import in_force
    from shaper.top.text import lasting, micros

    uptime = lasting(time.time() - datetime.fromisoformat(state["started"]).timestamp())
    scenario = f", phase {state['phase']} of {state['scenario']}" if state["scenario"] else ""
    out.print(f"{state['name']}: {state['state']}, {state['shapes']}{scenario}, for {uptime}")
    numbers = ", ".join(map(str, state["queues"]))
    queues = f", queue{'s' * (len(state['queues']) > 1)} {numbers}" if numbers else ""
    out.print(f"version {state['version']}, process {state['pid']}{queues}\n")
    out.print(
        table(
            ("stage", "in force", "held", "dropped", "made"),
            [(one["name"], in_force(one), one["held"], one["dropped"], one["injected"]) for one in stages],
        )
    )
    for one in stages:
        for counter, number in one["counters"].items():
            out.print(f"{one['name']} counted: {counter} {number:,}")
    out.print()
    bypassed = state["bypassed"]
    late = state["late_us"]
    for what, text in (
        ("taken", f"{state['taken']:,}"),
        ("sent", f"{state['sent']:,}"),
        ("held now", f"{state['held']:,}"),
        ("dropped", f"{state['dropped']:,}"),
        ("made", f"{state['injected']:,}"),
        ("bypassed", "not known" if bypassed is None else f"{bypassed:,}"),
        ("late", "nothing yet" if late is None else ", ".join(f"{part} {micros(late[part])}" for part in late)),
    ):
        out.print(f"{what:9} {text}")
    left = state["summary"].get("connections_left")
    if left is not None:
        out.print(f"left      {left:,} connection{'s' * (left != 1)}, {state['summary']['packets_left']:,} packets")
    for problem in state["summary"].get("problems", ()):
        out.print(f"! {problem}")
