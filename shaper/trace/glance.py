"""The glance: a command's critical path in a few lines, which say what made it take so long, and which packets.

Steps of the path that are alike make one line, with their number and the longest packet.
The lines add up to the command's duration, as they are printed, too.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice, takewhile
from typing import Any

from shaper.journal import Record
from shaper.report.blocking import SHAPER, packet_name
from shaper.report.traffic import Traffic
from shaper.trace.analysis.packets import Packets, label
from shaper.trace.analysis.path import Step
from shaper.trace.analysis.tasks import Task
from shaper.units import ms, us
from shaper.wire.flow import Flow

LINES = 5
"""Lines at most; what is left over is one of them."""
NAMED = 3
"""Tasks and lost packets named in a line at most."""
WHOLE = 100 * ms
"""From this duration (ns) on, lines are in whole ms."""
BEFORE = 50 * ms
"""A packet that was sent this long (ns) before its task fell asleep may be what it then waits for."""
GROUPS = {
    "syn": "handshake", "synack": "handshake", "handshake-ack": "handshake", "pure-ack": "ACKs", "dup-ack": "ACKs",
    "window-update": "ACKs", "fin": "close", "rst": "close", "data": "data", "udp": "packets",
}  # fmt: skip
WORDS = {
    "retransmission": "TCP sent again what was only late",
    "delayed ack": "TCP delayed an ACK",
    "pacing": "TCP's pacing",
    "timer": "timers",
    "disk": "disk",
    "interrupt": "other work of the kernel's",
    "running": "computing, or waiting for a CPU",
    "cpu": "computing, or waiting for a CPU",
    "task": "tasks that are not recorded",
}
BY_TASK = frozenset({"timer", "running", "cpu", "task"})
"""Kinds of steps whose line says which tasks they were of."""
UNEXPLAINED = "unexplained"
REST = "everything else"


@dataclass(slots=True)
class Line:
    """Steps of a path that are alike.

    Attributes:
        what: what they have in common, such as "held by delay: data of tcp 80".
        duration: of all of them, in ns.
        count: how many times this came; for holds, how many packets.
        tasks: how long (ns) it was of which task, by name; of what is left over, how long it was of which line.
        longest: the packet that was held longest, and the part of its hold (ns) on the path.
        lost: the packets that were lost, each with the time (ns) until it was sent again.
    """

    what: str
    duration: int = 0
    count: int = 0
    tasks: Counter[str] = field(default_factory=Counter)
    longest: tuple[str, int] | None = None
    lost: dict[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        text = self.what
        if self.lost:
            text += ": " + _listed(self.lost.items())
        elif self.tasks:
            text += ": " + _listed(self.tasks.most_common())
        if self.longest is not None:
            packet, spent = self.longest
            longest = f"{self.count} packets, the longest {packet}" if self.count > 1 else packet
            return f"{text}, {longest} {_short(spent)} ms"
        return text

    def as_json(self) -> dict[str, Any]:
        """One entry of the document's `glance.lines`."""
        return {
            "what": self.what, "ms": self.duration / ms, "count": self.count,
            "tasks": [{"task": task, "ms": spent / ms} for task, spent in self.tasks.most_common()],
            "longest": None if self.longest is None else {"packet": self.longest[0], "ms": self.longest[1] / ms},
            "lost": [{"packet": name, "ms": spent / ms} for name, spent in self.lost.items()],
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Glance:
    """What a command's time went into.

    Attributes:
        command: the task.
        duration: of the command, in ns.
        lines: the largest first; they add up to the duration.
    """

    command: Task
    duration: int
    lines: Sequence[Line]

    def printed(self) -> Iterator[str]:
        """The lines as they are printed; their times add up, too."""
        unit = ms if self.duration >= WHOLE else 100 * us
        shown = _rounded([line.duration for line in self.lines], unit)
        amounts = [f"{count * unit / ms:.0f}" if unit == ms else f"{count * unit / ms:.1f}" for count in shown]
        total = f"{sum(shown) * unit / ms:.0f}" if unit == ms else f"{sum(shown) * unit / ms:.1f}"
        yield f"{self.command} took {total} ms:"
        for count, amount, line in zip(shown, amounts, self.lines, strict=True):
            if count:
                yield f"{amount:>8}  {line}"

    def as_json(self) -> dict[str, Any]:
        """The document's `glance`."""
        return {
            "pid": self.command.tid,
            "task": self.command.comm,
            "ms": self.duration / ms,
            "lines": [line.as_json() for line in self.lines],
        }


def glance(command: Task, path: Iterable[Step], records: Sequence[Record], packets: Packets) -> Glance:
    """The glance at a command's critical path."""
    lines: dict[str, Line] = {}
    last: dict[str, Step] = {}
    losses = _Losses(records, packets)
    traffic, total = Traffic(records), 0
    for step in path:
        total += step.duration
        what = _what(step, traffic)
        lost = losses.during(step) if step.kind == "timer" else []
        if lost:
            what = "timers, while packets were lost"
        line = lines.setdefault(what, Line(what))
        line.duration += step.duration
        line.lost.update((f"{label(record)} ({record.by})", step.duration) for record in lost)
        if step.kind in BY_TASK and step.task is not None and not lost:
            line.tasks[step.task.comm or "?"] += step.duration
        if step.hold is not None:
            _add_hold(line, step, last.get(what))
        else:
            line.count += 1
        if step.lost is not None:
            name = f"{packet_name(step.lost.kind, step.lost.id)} ({step.lost.by})"
            line.lost[name] = line.lost.get(name, 0) + step.duration
        last[what] = step
    for line in lines.values():
        line.lost = dict(sorted(line.lost.items(), key=lambda item: -item[1]))
    return Glance(command, total, few(lines.values()))


def few(lines: Iterable[Line]) -> list[Line]:
    """The lines with the longest durations, and what is left over as one line: `LINES` at most, in this order."""
    ordered = sorted(lines, key=lambda line: -line.duration)
    if len(ordered) <= LINES:
        return ordered
    ordered, rest = ordered[: LINES - 1], ordered[LINES - 1 :]
    others: Counter[str] = Counter()
    for line in rest:  # several may have the same name, if several policies held the same
        others[line.what.partition(": ")[2] or line.what] += line.duration
    return [*ordered, Line(REST, others.total(), len(rest), others)]


def _add_hold(line: Line, step: Step, before: Step | None) -> None:
    assert step.hold is not None
    is_same = before is not None and before.hold is not None and before.hold.record.id == step.hold.record.id
    line.count += not is_same
    if line.longest is None or step.duration > line.longest[1]:
        line.longest = f"#{step.hold.record.id}", step.duration


def _what(step: Step, traffic: Traffic) -> str:
    if step.hold is not None:
        record = step.hold.record
        if step.hold.policy == SHAPER:
            return "shaper's own time with packets"
        group = GROUPS.get(record.kind, record.kind)
        return f"held by {step.hold.policy}: {group} of {_service(record, traffic)}"
    if step.lost is not None:
        return "lost and sent again"
    return WORDS.get(step.kind, UNEXPLAINED)


def _service(record: Record, traffic: Traffic) -> str:
    """The service that the packet belongs to: "tcp 80"."""
    port = record.flow.dport if traffic.is_clients(record) else record.flow.sport
    return f"{record.flow.protocol} {port}" if port else record.flow.protocol


class _Losses:
    """Lost packets that a task may have waited for until a timer of its own expired."""

    def __init__(self, records: Iterable[Record], packets: Packets) -> None:
        records = list(records)
        self._lost = sorted((r for r in records if r.fate == "dropped"), key=lambda record: record.arrived)
        self._flows: dict[int, set[Flow]] = {}
        if self._lost:
            for record in records:
                sent = packets.sender(record)
                if sent is not None and sent.context is None:
                    self._flows.setdefault(sent.tid, set()).update((record.flow, record.flow.reverse))

    def during(self, step: Step) -> list[Record]:
        """Those of the task's connections that were lost while it waited, or just before."""
        flows = self._flows.get(step.task.tid, set()) if step.task is not None else set()
        first = bisect_left(self._lost, step.start - BEFORE, key=lambda record: record.arrived)
        after = takewhile(lambda record: record.arrived <= step.end, islice(self._lost, first, None))
        return [record for record in after if record.flow in flows] if flows else []


def _rounded(amounts: Sequence[int], unit: int) -> list[int]:
    """The amounts in this unit, rounded so that they add up to the rounded sum: those most cut off are rounded up."""
    floors = [amount // unit for amount in amounts]
    missing = round(sum(amounts) / unit) - sum(floors)
    by_rest = sorted(range(len(amounts)), key=lambda index: -(amounts[index] % unit))
    for index in by_rest[:missing]:
        floors[index] += 1
    return floors


def _listed(items: Iterable[tuple[str, int]]) -> str:
    """The first few with their durations: "data #7 (loss) 2463, SYN #1 (loss) 1028 ms"."""
    return ", ".join(f"{name} {_short(spent)}" for name, spent in islice(items, NAMED)) + " ms"


def _short(duration: int) -> str:
    return f"{duration / ms:.0f}" if duration >= 10 * ms else f"{duration / ms:.1f}"
