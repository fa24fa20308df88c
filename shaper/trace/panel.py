"""A trace's report as a panel of the figure.

It has a lane for the command's critical path, one for each task that slept, and the packets between them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from shaper.journal import Record
from shaper.report.arrows import KINDS, arrows
from shaper.report.blocking import SHAPER, Blocking, call_name
from shaper.report.figure.model import Bar, Kind, Panel, Side
from shaper.report.story import call_story
from shaper.report.traffic import Traffic
from shaper.trace.analysis.packets import label
from shaper.trace.analysis.path import Step
from shaper.trace.report import TraceReport
from shaper.units import ms

VISIBLE = 0.002
"""Parts of the path that are a smaller share of it are not drawn."""
WORDS = {
    "retransmission": "sent again", "delayed ack": "delayed ACK", "pacing": "pacing", "timer": "timer", "disk": "disk",
}  # fmt: skip
"""What parts of the path are called that are neither holds nor losses; all others are "computing"."""
MOST = 10
"""Lanes at most; if more tasks slept, those that slept longest are drawn."""


def panel(report: TraceReport, records: Iterable[Record]) -> Panel:
    """The blockings that the report lists, and the packets of its time; times are ms since its first event.

    Without packets, all tasks are on one side.
    """
    seen = [record for record in records if record.begin >= report.first and record.arrived <= report.last]
    of_task: dict[int, list[Blocking]] = {}
    for blocking in report.blockings:
        of_task.setdefault(blocking.tid, []).append(blocking)
    longest = sorted(of_task, key=lambda tid: -sum(blocking.duration for blocking in of_task[tid]))[:MOST]
    lanes: dict[Side, list[str]] = {"client": [], "server": []}
    bars, by_id, traffic = [], {record.id: record for record in seen}, Traffic(seen)
    for tid, blockings in of_task.items():
        if tid in longest:
            name = f"{blockings[-1].task}[{tid}]"
            lanes[_side(blockings, by_id, traffic) if seen else "client"].append(name)
            bars += [_bar(name, blocking, report.first) for blocking in blockings]
    if report.path and report.glance is not None:
        name = f"path of {report.glance.command.comm}"
        lanes["client"].insert(0, name)
        bars = [*_path(name, report.path, report.first), *bars]
    note = f"{len(of_task) - MOST} more tasks slept" if len(of_task) > MOST else ""
    return Panel("", bars, arrows(seen, report.first, report.blockings), note, (lanes["client"], lanes["server"]))


def _path(lane: str, path: Sequence[Step], origin: int) -> Iterator[Bar]:
    """The path as one bar: its holds and its losses, and what lies between them."""
    whole = sum(step.duration for step in path)
    for (name, kind), alike in groupby(reversed(path), key=_part):
        steps = list(alike)
        if sum(step.duration for step in steps) >= VISIBLE * whole:
            start, end = ((time - origin) / ms for time in (steps[0].start, steps[-1].end))
            story = f"on the critical path from {start:.1f} ms to {end:.1f} ms", *_held_by(steps)
            yield Bar(lane, start, end, f"{name} {end - start:.1f} ms", kind=kind, story=story)


def _held_by(steps: Sequence[Step]) -> Iterator[str]:
    """A line for each hold among the steps."""
    for step in steps:
        if step.hold is not None and step.hold.policy != SHAPER:
            yield f"held by {step.hold.policy}: {step.duration / ms:.1f} ms"


def _part(step: Step) -> tuple[str, Kind | None]:
    if step.hold is not None and step.hold.policy != SHAPER:
        record = step.hold.record
        return label(record), KINDS.get(record.kind, "other")
    if step.lost is not None:
        return f"{label(step.lost)} lost", None
    return WORDS.get(step.kind, "computing"), None


def _side(blockings: Sequence[Blocking], by_id: dict[int, Record], traffic: Traffic) -> Side:
    """The task's side: by what it does with connections, otherwise by the packets that woke it."""
    for blocking in blockings:
        if blocking.role:
            return "server" if blocking.role == "server" else "client"
    for blocking in blockings:
        if blocking.waker is not None and blocking.waker.kind == "packet" and blocking.held:
            record = by_id.get(blocking.held[0].packet)
            if record is not None:
                return "server" if traffic.is_clients(record) else "client"
    return "client"


def _bar(lane: str, blocking: Blocking, origin: int) -> Bar:
    start, end = ((time - origin) / ms for time in (blocking.start, blocking.end))
    label = f"{call_name(blocking)} {blocking.duration / ms:.1f} ms"
    return Bar(lane, start, end, label, story=call_story(blocking, origin))
