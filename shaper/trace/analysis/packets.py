"""Packets in a trace: which packet's verdict woke a task, and what sent each packet.

When shaper's engine sends a packet on from INPUT, the kernel runs its whole receive path
inside the verdict's write. So a wakeup in that write, in no softirq, comes from that
packet. A packet was sent by what ran when it was queued to its device (net_dev_queue):
the engine, inside the write that delivered another packet, or a task.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable

from shaper.journal import Record
from shaper.report.blocking import LABELS, Waker
from shaper.report.traffic import Traffic
from shaper.trace.analysis.context import Contexts
from shaper.trace.analysis.senders import Senders, Sent
from shaper.trace.read.events import TraceEvent


class Packets:
    """The journal's packets, and what the trace says of them.

    Args:
        records: of the journal.
        contexts: of the analysis that reads the trace.
    """

    def __init__(self, records: Iterable[Record], contexts: Contexts) -> None:
        records = list(records)
        self._traffic = Traffic(records)
        self._writes: dict[int, list[Record]] = {}
        for record in records:
            if record.fate != "dropped":
                self._writes.setdefault(record.tid, []).append(record)
        self._begins: dict[int, list[int]] = {}
        for tid, written in self._writes.items():
            written.sort(key=lambda record: record.begin)
            self._begins[tid] = [record.begin for record in written]
        self._senders = Senders(records, contexts, self.delivered, self._writes.__contains__)

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
        self._senders.note(event)

    def sender(self, record: Record) -> Sent | None:
        """How the packet was sent; None if the trace doesn't have it."""
        return self._senders.of(record)

    def earlier_copy(self, record: Record) -> Record | None:
        """The packet of which this one is a retransmission; None if it is none."""
        return self._traffic.along(record).earlier_copy(record)


def label(record: Record) -> str:
    """The packet's name in reports: "SYN-ACK #2"."""
    return f"{LABELS.get(record.kind, record.kind)} #{record.id}"
