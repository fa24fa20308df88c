"""`shaper events`: what happens in a running shaper, line by line."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any

import typer

from shaper.cli.options import Json
from shaper.cli.running import Name, connect

EXAMPLES = (
    "shaper events",
    "shaper events web --kind change --kind failure",
    "shaper events --json | jq 'select(.kind == \"packet\").data.class'",
)


class Kind(StrEnum):
    """The kinds of events, see `shaper.live.state.Event`."""

    PACKET, CHANGE, WARNING, FAILURE, STATE = "packet", "change", "warning", "failure", "state"


def events(
    name: Name = None,
    kind: Annotated[
        list[Kind] | None, typer.Option(help="Show only this kind of events; may be repeated.", show_default=False)
    ] = None,
    rate: Annotated[
        int, typer.Option(metavar="N", min=0, max=1000, help="Show N packets a second at most, a sample of all.")
    ] = 100,
    json: Json = None,
) -> None:
    """Show what happens in a running shaper, until it ends or Ctrl-C.

    Packets (what became of a sample of them), changes by somebody, warnings, failures of
    policies, and states. With --json, each event is a line. Reading slowly misses events,
    and delays no packet.
    """
    import sys
    from contextlib import nullcontext
    from json import dumps

    from shaper.report.output import STDOUT

    coming = connect(name).events(kinds=kind or (), packets_per_second=rate)
    with nullcontext(sys.stdout) if json in (None, STDOUT) else open(json, "w", encoding="utf-8") as out:
        for event in coming:
            print(line(event) if json is None else dumps(event), file=out, flush=True)


def line(event: Mapping[str, Any]) -> str:
    """An event for people: when, what, its details."""
    from datetime import datetime

    from shaper.report.table import printable

    at = datetime.fromisoformat(event["time"]).astimezone()
    data = event["data"]
    says = {"packet": packet, "change": change}.get(event["kind"], message)
    return printable(f"{at:%H:%M:%S}.{at.microsecond // 1000:03} {event['kind']:7} {says(data)}")


def packet(data: Mapping[str, Any]) -> str:
    """What became of a packet: "10.0.0.1:5000 > 10.0.0.2:80 tcp data 52 B sent, held 20.0 ms by delay"."""
    parts = [data["flow"], data.get("class"), f"{data['len']} B" if "len" in data else None, data["fate"]]
    by = f" by {data['by']}" if data.get("by") else ""
    held = ", ".join(f"{one['ns'] / 1e6:.1f} ms by {one['policy']}" for one in data.get("held", ()))
    return " ".join(filter(None, parts)) + by + (f", held {held}" if held else "")


def change(data: Mapping[str, Any]) -> str:
    """What somebody changed: "delay:time=50ms", "replace delay:20ms | loss:1%", "pause"."""
    if data["what"] == "change":
        return f"{data['stage']}:{','.join(f'{name}={value}' for name, value in data['options'].items())}"
    return f"{data['what']} {' | '.join(data.get('policies', ()))}".strip()


def message(data: Mapping[str, Any]) -> str:
    """A warning, a failure, a state."""
    return str(data.get("message", data.get("state", "")))
