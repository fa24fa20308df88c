"""Packets in a trace: which packet's verdict woke a task, and what sent each packet.

When shaper's engine sends a packet on from INPUT, the kernel runs its whole receive path
inside the verdict's write. So a wakeup in that write, in no softirq, comes from that
packet. A router's engine sends it on to a device instead. If that leads to another
namespace, the receive path follows there, mostly still in that write, but in the softirq
NET_RX. A packet was sent by what ran when it was queued to its device (net_dev_queue):
the engine, inside the write that delivered another packet, or a task.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from typing import Literal, NamedTuple

from shaper.journal import Record
from shaper.report.blocking import Waker, packet_name
from shaper.report.timers import PACING, Expiry, expiry, retransmission
from shaper.report.traffic import Traffic
from shaper.trace.analysis.context import Contexts
from shaper.trace.analysis.senders import Senders, Sent
from shaper.trace.read.events import TraceEvent
from shaper.units import ms

AT_ONCE = 1 * ms
"""The kernel answers a delivery within this time (ns)."""
KERNELS = frozenset({"synack", "handshake-ack", "pure-ack", "dup-ack", "window-update", "rst", "icmp"})
"""Classes of packets that the kernel sends on its own."""


class Cause(NamedTuple):
    """Why a packet was sent.

    Attributes:
        by: the delivery of another packet, a timer of TCP, or a task; "ambiguous" where one write delivered several
            packets; "unknown" where the trace doesn't show it.
        sent: how it was sent; None if the trace doesn't have it.
        record: the packet whose delivery led to it.
        expiry: of the timer.
    """

    by: Literal["delivery", "timer", "task", "ambiguous", "unknown"]
    sent: Sent | None = None
    record: Record | None = None
    expiry: Expiry | None = None


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
        """The packets that may have caused a wakeup, or a packet, by this thread at that time (ns)."""
        delivered = self.delivered(tid, at)
        if waker is None or waker.kind == "task":
            return delivered
        return [record for record in delivered if record.forwarded] if waker.name == "NET_RX" else []

    def note(self, event: TraceEvent) -> None:
        """A packet is queued to its device: take note of who sends it, unless it only passes this machine."""
        delivered = self.delivered(event.tid, event.at)
        if not any(record.forwarded and record.length == event.fields["len"] for record in delivered):
            self._senders.note(event)

    def sender(self, record: Record) -> Sent | None:
        """How the packet was sent; None if the trace doesn't have it."""
        return self._senders.of(record)

    def cause(self, record: Record) -> Cause:
        """Why the packet was sent."""
        sent = self.sender(record)
        if sent is not None:
            causes = self.woke(sent.tid, sent.at, sent.context)
            if len(causes) > 1:
                return Cause("ambiguous", sent)
            if causes and causes[0].begin < record.begin:
                return Cause("delivery", sent, causes[0])
        again = retransmission(record, self._traffic)
        if again is not None:
            return Cause("timer", sent, expiry=again)
        if sent is None:
            # A packet that the kernel sends on its own answers the last delivery.
            delivery = self._traffic.against(record).last_before(record.arrived)
            at_once = delivery is not None and record.arrived - delivery.begin < AT_ONCE
            return Cause("delivery", None, delivery) if at_once and record.kind in KERNELS else Cause("unknown")
        if sent.context is None or sent.context.name == "NET_RX":
            return Cause("task", sent)
        if sent.context.kind == "irq":
            return Cause("unknown", sent)
        is_pacing = sent.context.name.endswith(PACING)
        return Cause("timer", sent, expiry=expiry(record, sent.at, self._traffic, is_pacing=is_pacing))


def label(record: Record) -> str:
    """The packet's name in reports: "SYN-ACK #2"."""
    return packet_name(record.kind, record.id)
