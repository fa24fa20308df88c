"""Packets in a trace: which packet's verdict woke a task, and what sent each packet.

When shaper's engine sends a packet on from INPUT, the kernel runs its whole receive path
inside the verdict's write. So a wakeup in that write, in no softirq, comes from that
packet. A packet was sent by what ran when it was queued to its device (net_dev_queue):
the engine, inside the write that delivered another packet, or a task.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Iterable
from typing import Any, NamedTuple

from shaper.journal import Record
from shaper.report.blocking import LABELS, Waker
from shaper.report.traffic import Traffic
from shaper.trace.analysis.context import Contexts
from shaper.trace.read.events import TraceEvent
from shaper.units import ms, us

# A packet may have been queued to its device this long (ns) before its arrival: the engine may be late to read it.
LATE = 50 * ms
# The kernel's timestamps are times of day; after their conversion to CLOCK_MONOTONIC they may be off by this (ns).
INEXACT = 50 * us
# How many lengths and sequence numbers are remembered, and for each how many packets.
REMEMBERED = 4096


class Sent(NamedTuple):
    """A packet on its way to a device: when, by whom, and in which context (None: the task's own)."""

    at: int
    tid: int
    context: Waker | None


class Packets:
    """The journal's packets, and what the trace says of them.

    Args:
        records: of the journal.
        contexts: of the analysis that reads the trace.
    """

    def __init__(self, records: Iterable[Record], contexts: Contexts) -> None:
        records = list(records)
        self._contexts = contexts
        self._traffic = Traffic(records)
        self._writes: dict[int, list[Record]] = {}
        for record in records:
            if record.fate != "dropped":
                self._writes.setdefault(record.tid, []).append(record)
        self._begins: dict[int, list[int]] = {}
        for tid, written in self._writes.items():
            written.sort(key=lambda record: record.begin)
            self._begins[tid] = [record.begin for record in written]
        self._sent: dict[tuple[Any, ...], deque[Sent]] = {}

    def delivered(self, tid: int, at: int) -> list[Record]:
        """The packets whose verdict this thread was writing at that time (ns); several if one write had several."""
        written = self._writes.get(tid)
        if written is None:
            return []
        found = []
        for index in range(bisect_right(self._begins[tid], at) - 1, -1, -1):
            if written[index].end < at:
                break
            found.append(written[index])
        return found[::-1]

    def woke(self, tid: int, at: int, waker: Waker | None) -> list[Record]:
        """The packets that may have caused a wakeup by this thread at that time (ns)."""
        return self.delivered(tid, at) if waker is None or waker.kind == "task" else []

    def note(self, event: TraceEvent) -> None:
        """A packet is queued to its device: take note of who sends it."""
        fields = event.fields
        sent = Sent(event.at, event.tid, self._contexts.waker(event))
        keys: list[tuple[Any, ...]] = [(fields["len"],)]
        if "seq" in fields:
            keys.append((fields["len"], fields["seq"], fields["ack"]))
        for key in keys:
            known = self._sent.get(key)
            if known is None:
                if len(self._sent) >= REMEMBERED:
                    del self._sent[next(iter(self._sent))]
                known = self._sent[key] = deque(maxlen=REMEMBERED)
            known.append(sent)

    def sender(self, record: Record) -> Sent | None:
        """How the packet was sent; None if the trace doesn't have it."""
        exact = self._sent.get((record.length, record.seq, record.ack))
        for sent in reversed(exact or self._sent.get((record.length,)) or ()):
            if sent.at <= record.arrived + INEXACT:
                return sent if sent.at >= record.arrived - LATE else None
        return None

    def earlier_copy(self, record: Record) -> Record | None:
        """The packet of which this one is a retransmission; None if it is none."""
        return self._traffic.along(record).earlier_copy(record)


def label(record: Record) -> str:
    """The packet's name in reports: "SYN-ACK #2"."""
    return f"{LABELS.get(record.kind, record.kind)} #{record.id}"
