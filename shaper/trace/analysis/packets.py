"""Packets in a trace: which verdict a waking came from, and what made each packet be sent.

When the engine lets a packet go on from INPUT, the kernel runs its whole receive path
inside the verdict's write, so a waking there, in no softirq, is that packet's doing. A
packet was sent by whoever ran when it was queued to its device (net_dev_queue): the
engine, inside the write that delivered another packet; or a task.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Iterable
from typing import Any, NamedTuple

from shaper.journal import Record
from shaper.report.blocking import LABELS, Waker
from shaper.trace.analysis.context import Contexts
from shaper.trace.read.events import TraceEvent
from shaper.units import ms, us

# How long before its arrival a packet may have been queued to its device: the engine may be late to read it.
LATE = 50 * ms
# The kernel's timestamps are times of day; brought to CLOCK_MONOTONIC they are this inexact.
INEXACT = 50 * us
REMEMBERED = 4096


class Sent(NamedTuple):
    """A packet on its way to a device: when, by whom, and in which context (None: the task's own)."""

    at: int
    tid: int
    context: Waker | None


class Packets:
    """The journal's packets beside what the trace says of them."""

    def __init__(self, records: Iterable[Record], contexts: Contexts) -> None:
        self._contexts = contexts
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
        """The packets that this thread was letting go on at that time; several if it wrote their verdicts at once."""
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
        """The packets that can have caused a waking by this thread at that time."""
        return self.delivered(tid, at) if waker is None or waker.kind == "task" else []

    def note(self, event: TraceEvent) -> None:
        """A packet is queued to its device."""
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
        """Who sent the packet, as the trace has it; None if it doesn't."""
        exact = self._sent.get((record.length, record.seq, record.ack))
        for sent in reversed(exact or self._sent.get((record.length,)) or ()):
            if sent.at <= record.arrived + INEXACT:
                return sent if sent.at >= record.arrived - LATE else None
        return None


def label(record: Record) -> str:
    """The packet as people name it: "SYN-ACK #2"."""
    return f"{LABELS.get(record.kind, record.kind)} #{record.id}"
