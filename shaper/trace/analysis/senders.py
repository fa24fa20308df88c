"""Senders: which packet of the journal each net_dev_queue event of the trace was.

The event has the packet's length, its time, and what ran there, but no addresses. It is
seen before a large segment is cut: one event of 2948 bytes may be two packets of 1500. So
packets of a flow are put together by their sequence numbers until their sum has the
event's length. Each event is used once, and only if it can have sent the packet: a task
that is not traced can't, and what the engine sends while it delivers a packet is an
answer to that packet.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterable, Iterator
from operator import attrgetter
from typing import NamedTuple

from shaper.journal import Record
from shaper.report.blocking import Waker
from shaper.trace.analysis.context import Contexts
from shaper.trace.read.events import TraceEvent
from shaper.units import ms, us

STAMPED = 10 * ms
"""The kernel's timestamp of a packet is at most this long (ns) after its event: a busy CPU may receive it later."""
READ = 50 * ms
"""A packet without such a timestamp was read from the queue up to this long (ns) after its event."""
INEXACT = 50 * us
"""Timestamps are times of day; after their conversion to CLOCK_MONOTONIC they may be off by this (ns)."""
USUAL = 4 * us
"""The usual time (ns) from the event to the timestamp."""
BURST = 500 * us
"""The packets that one large segment is cut into have timestamps within this time (ns)."""
HEADERS = range(40, 141)
"""Bytes of IP and TCP headers together, from none of their options to all."""
WRAP = 1 << 32


class Sent(NamedTuple):
    """A packet on its way to a device: when, by whom, and in which context (None: the task's own).

    `length`, `seq` and `ack` are those of the event, before the packet was cut; `seq` and `ack` are None if unknown.
    """

    at: int
    tid: int
    context: Waker | None
    length: int = 0
    seq: int | None = None
    ack: int | None = None


class Senders:
    """Ties events to packets, in the order in which packets arrived.

    Args:
        records: of the journal.
        contexts: of the analysis that reads the trace.
        delivered: the packets whose verdict a thread was writing at a time (ns).
        is_engine: whether a thread writes verdicts.
    """

    def __init__(
        self,
        records: Iterable[Record],
        contexts: Contexts,
        delivered: Callable[[int, int], list[Record]],
        is_engine: Callable[[int], bool],
    ) -> None:
        self._records = sorted((r for r in records if r.fate != "injected"), key=attrgetter("arrived"))
        self._contexts, self._delivered, self._is_engine = contexts, delivered, is_engine
        self._next = 0
        self._followers: dict[int, Record] = {}
        last: dict[object, Record] = {}
        for record in self._records:
            if record.flow in last:
                self._followers[last[record.flow].id] = record
            last[record.flow] = record
        self._free: dict[int, list[Sent]] = {}
        self._of: dict[int, Sent] = {}

    def note(self, event: TraceEvent) -> None:
        """A packet is queued to its device: take note of who sends it."""
        # What arrived long ago has all its events by now; tied at once, these need not be remembered.
        self._tie_until(event.at - INEXACT)
        if self._next == len(self._records):
            return
        context, tid, fields = self._contexts.waker(event), event.tid, event.fields
        if context is None and not self._contexts.is_traced(tid) and not self._delivered(tid, event.at):
            return
        length = fields["len"]
        sent = Sent(event.at, tid, context, length, fields.get("seq"), fields.get("ack"))
        free = self._free.setdefault(length, [])
        if free and free[0].at < self._records[self._next].arrived - READ:
            del free[: bisect_left(free, self._records[self._next].arrived - READ, key=attrgetter("at"))]
        insort(free, sent, key=attrgetter("at"))

    def of(self, record: Record) -> Sent | None:
        """How the packet was sent; None if the trace doesn't have it."""
        self._tie_until(record.arrived)
        return self._of.get(record.id) if record.fate != "injected" else None

    def _tie_until(self, at: int) -> None:
        """Tie the packets that arrived by this time (ns)."""
        while self._next < len(self._records) and self._records[self._next].arrived <= at:
            self._tie(self._records[self._next])
            self._next += 1

    def _tie(self, record: Record) -> None:
        """Find the event that sent this packet, alone or as the first part of a larger one."""
        if record.id in self._of:
            return
        since = record.arrived - (READ if record.arrived == record.taken else STAMPED)
        best: tuple[int, Sent, list[Record]] | None = None
        for length, parts in self._cut(record):
            free = self._free.get(length, [])
            first = bisect_left(free, since, key=attrgetter("at"))
            for sent in free[first : bisect_right(free, record.arrived + INEXACT, key=attrgetter("at"))]:
                distance = abs(record.arrived - USUAL - sent.at)
                if (best is None or distance < best[0]) and self._is_possible(sent, record):
                    best = distance, sent, parts
        if best is not None:
            _, sent, parts = best
            self._free[sent.length].remove(sent)
            self._of.update((part.id, sent) for part in parts)

    def _cut(self, record: Record) -> Iterator[tuple[int, list[Record]]]:
        """The lengths that an event may have had whose segment was cut into this packet and those that follow it."""
        parts, length, part, headers = [record], record.length, record, 0
        yield length, [record]
        while (following := self._followers.get(part.id)) is not None:
            if following.arrived - record.arrived > BURST or following.seq is None or part.seq is None:
                return
            step = part.length - (following.seq - part.seq) % WRAP
            if step not in HEADERS or (headers and step != headers) or following.id in self._of:
                return
            headers, part = step, following
            length += following.length - headers
            parts = [*parts, following]
            yield length, parts

    def _is_possible(self, sent: Sent, record: Record) -> bool:
        """Whether what sent this can have sent the packet."""
        if sent.seq is not None and (sent.seq, sent.ack) != (record.seq, record.ack):
            return False
        if sent.context is not None:
            return True
        causes = self._delivered(sent.tid, sent.at)
        if not causes:
            return not self._is_engine(sent.tid)
        return any(answers(record, cause) for cause in causes)


def answers(record: Record, cause: Record) -> bool:
    """Whether the kernel can have sent this packet because the other one was delivered, by their flows and numbers."""
    if record.kind == "icmp":
        return True
    if cause.flow != record.flow.reverse:
        return False
    if record.kind == "synack":
        return cause.kind == "syn" and record.ack == ((cause.seq or 0) + 1) % WRAP
    if record.kind == "handshake-ack":
        return cause.kind == "synack" and record.ack == ((cause.seq or 0) + 1) % WRAP
    return True
