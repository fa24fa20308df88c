"""A report as a trace for viewers: Perfetto (ui.perfetto.dev), Trace Compass, chrome://tracing.

Each task is a track with its blocked calls. Each flow is one or more tracks with its
packets while they were held. Arrows lead from a packet to the wakeup that it caused.

Source: the Trace Event Format, as in the documentation of chrome://tracing and Perfetto.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, TextIO

from shaper.journal import Record
from shaper.report.blocking import PARTS, Blocking, because, call_name, packet_name
from shaper.trace.analysis.packets import label
from shaper.trace.report import TraceReport
from shaper.units import ms, us
from shaper.wire.flow import Flow

# The process id that stands for the network; no process of the system has it.
NETWORK = 0

Entry = dict[str, Any]


def write_chrome(report: TraceReport, records: Iterable[Record], file: TextIO) -> None:
    """Write the format's JSON object form; times are µs since the trace's first event."""
    file.write('{"displayTimeUnit": "ms", "traceEvents": [\n')
    separator = ""
    for entry in entries(report, records):
        file.write(separator + json.dumps(entry, ensure_ascii=False))
        separator = ",\n"
    file.write("\n]}\n")


def write_folded(blockings: Iterable[Blocking], file: TextIO) -> None:
    """Write the blockings as folded stacks, for viewers of flame graphs: task, call, cause, packet, and the time in µs.

    Source: the input of flamegraph.pl, https://github.com/brendangregg/FlameGraph.
    """
    stacks: Counter[tuple[str, ...]] = Counter()
    for blocking in blockings:
        wait = f"{blocking.task}[{blocking.tid}]", call_name(blocking)
        for held in blocking.held:
            stacks[*wait, f"held by {held.policy}", packet_name(held.kind, held.packet)] += held.duration
        for lost in blocking.dropped:
            stacks[*wait, f"lost by {lost.policy}", packet_name(lost.kind, lost.packet)] += lost.duration
        for part in PARTS:
            stacks[*wait, part.replace("_", " ")] += getattr(blocking, part)
        stacks[*wait, "retransmission"] -= sum(lost.duration for lost in blocking.dropped)
    for stack, duration in stacks.items():
        if duration >= 1 * us:
            file.write(f"{';'.join(frame.replace(';', ':') for frame in stack)} {duration // us}\n")


def entries(report: TraceReport, records: Iterable[Record]) -> Iterator[Entry]:
    """All events of the trace."""
    woken_by: dict[int, list[Blocking]] = {}
    named: set[int] = set()
    for blocking in report.blockings:
        if blocking.tid not in named:
            named.add(blocking.tid)
            yield from _name(blocking.pid, blocking.tid, blocking.task, blocking.task)
        yield _blocked(blocking, report.first)
        if blocking.waker is not None and blocking.waker.kind == "packet":
            woken_by.setdefault(int(blocking.waker.name.rpartition("#")[2]), []).append(blocking)
    tracks = _Tracks()
    named.clear()
    for record in sorted(records, key=lambda record: record.arrived):
        track, name = tracks.of(record)
        if track not in named:
            named.add(track)
            yield from _name(NETWORK, track, "packets", name)
        yield from _packet(record, track, report.first)
        for blocking in woken_by.get(record.id, ()):
            yield from _arrow(record, track, blocking, report.first)


class _Tracks:
    """Finds a track for each packet: those of a flow that are held at the same time are on tracks side by side."""

    def __init__(self) -> None:
        self._ends: dict[Flow, list[tuple[int, int]]] = {}
        self._count = 0

    def of(self, record: Record) -> tuple[int, str]:
        """The number and name of a track of the packet's flow that is free when it arrives."""
        ends = self._ends.setdefault(record.flow, [])
        lane = next((index for index, (_, end) in enumerate(ends) if end <= record.arrived), len(ends))
        if lane == len(ends):
            self._count += 1
            ends.append((self._count, 0))
        track, _ = ends[lane]
        ends[lane] = track, record.end
        return track, f"{record.flow}" if lane == 0 else f"{record.flow} ({lane + 1})"


def _name(process: int, thread: int, process_name: str, thread_name: str) -> Iterator[Entry]:
    yield {"ph": "M", "name": "process_name", "pid": process, "tid": thread, "args": {"name": process_name}}
    yield {"ph": "M", "name": "thread_name", "pid": process, "tid": thread, "args": {"name": thread_name}}


def _slice(name: str, category: str, process: int, thread: int, start: int, end: int, args: Entry) -> Entry:
    return {
        "ph": "X", "name": name, "cat": category, "pid": process, "tid": thread, "ts": start / 1000,
        "dur": (end - start) / 1000, "args": args,
    }  # fmt: skip


def _blocked(blocking: Blocking, origin: int) -> Entry:
    args: Entry = {"woken by": str(blocking.waker or ""), "waited for": blocking.waited_for}
    if blocking.fd is not None:
        args["fd"] = f"{blocking.fd} {blocking.file}".strip()
    if blocking.held or blocking.dropped or blocking.ambiguous:
        args["because of (ms)"] = because(blocking)
    start = blocking.start - origin
    name = call_name(blocking)
    return _slice(name, "blocked", blocking.pid, blocking.tid, start, start + blocking.duration, args)


def _packet(record: Record, track: int, origin: int) -> Iterator[Entry]:
    held = {f"held by {hold.policy} (ms)": hold.ns / ms for hold in record.held}
    args = {"fate": record.fate, "bytes": record.length, "seq": record.seq, "ack": record.ack, **held}
    yield _slice(label(record), "packet", NETWORK, track, record.arrived - origin, record.end - origin, args)


def _arrow(record: Record, track: int, blocking: Blocking, origin: int) -> Iterator[Entry]:
    """From within the packet's slice to within the blocked call's, where it was woken."""
    common = {"name": "wakes", "cat": "wakeup", "id": f"{record.id}-{blocking.tid}-{blocking.start}"}
    # A viewer attaches each end to the slice around it, so it must lie inside.
    woken = blocking.end - max(blocking.cpu_wait, 1000)
    yield {**common, "ph": "s", "pid": NETWORK, "tid": track, "ts": (record.begin - origin) / 1000}
    yield {**common, "ph": "f", "bp": "e", "pid": blocking.pid, "tid": blocking.tid, "ts": (woken - origin) / 1000}
