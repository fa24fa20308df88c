"""The chain of causes behind a wait, and which part of the wait each held packet explains.

A packet whose delivery woke a task was sent for a reason: the kernel answered another
packet (SYN-ACK after SYN), a task was woken by one and wrote, a timer expired, or the
client began on its own. Each reason is another packet, which had a reason of its own.
Followed back to the start of the wait, this chain covers all of it: with holds, and with
the gaps between them by their kind. `shaper.probe.explain.causes` finds the reasons; here
they are only added up.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

from shaper.journal import Record
from shaper.report.blocking import Dropped, HoldPart
from shaper.report.holds import PacketHold, holds, tile

By = Literal["kernel", "task", "retransmission", "delayed ack", "pacing", "client"]


class Cause(NamedTuple):
    """Why a packet was sent.

    Attributes:
        by: who sent it: the kernel, at once on a delivery; a task that a delivery had woken; one of
            TCP's timers; or the client, on its own.
        record: the packet whose delivery led to it; for a retransmission the packet sent
            before, whether delivered or not; None where nothing came before.
        repeats: the packet is a retransmission of `record`.
        lost: the packet that was dropped, so that it was sent again.
    """

    by: By
    record: Record | None = None
    repeats: bool = False
    lost: Record | None = None

    @property
    def since(self) -> int:
        """When the cause began, in ns; 0 where nothing came before."""
        if self.record is None:
            return 0
        return self.record.arrived if self.repeats else self.record.begin


class Gap(NamedTuple):
    """The time (ns) between a packet's delivery and the arrival of the next one in the chain, and whose time it was.

    `lost` is the packet that was dropped, if the next one is its retransmission.
    """

    start: int
    end: int
    by: By
    lost: Record | None = None


class Explained(NamedTuple):
    """What a wait was made of, in ns. The fields and the parts of holds add up to it.

    Attributes:
        held: the parts of holds inside the wait, the last first.
        before_client: before the client began.
        peer: while a task computed or slept.
        retransmission, delayed_ack, pacing: until that timer of TCP expired.
        timer: until its own timer expired.
        unexplained: the rest, such as the kernel's own work.
        dropped: the packets whose retransmission it waited for, the last first; a part of `retransmission`.
    """

    held: tuple[HoldPart, ...] = ()
    before_client: int = 0
    peer: int = 0
    retransmission: int = 0
    delayed_ack: int = 0
    pacing: int = 0
    timer: int = 0
    unexplained: int = 0
    dropped: tuple[Dropped, ...] = ()


def way_back(waker: Record, cause_of: Callable[[Record], Cause]) -> Iterator[PacketHold | Gap]:
    """All that led to the waker's delivery, the last first. The first gap of the chain starts at 0."""
    record: Record | None = waker
    delivered = True
    while record is not None:
        if delivered:
            yield from reversed(holds(record))
        cause = cause_of(record)
        yield Gap(cause.since, record.arrived, cause.by, cause.lost)
        record, delivered = cause.record, not cause.repeats


def explain(start: int, end: int, waker: Record, cause_of: Callable[[Record], Cause]) -> Explained:
    """What the wait from `start` to `end` (ns) was made of, which the waker's delivery ended."""
    held: list[HoldPart] = []
    dropped: list[Dropped] = []
    gaps = Counter[By]()
    for part in tile(way_back(waker, cause_of), start, end):
        if isinstance(part.span, PacketHold):
            held.append(part.span.part(part.duration))
            continue
        gaps["kernel" if part.span is None else part.span.by] += part.duration
        if part.span is not None and (lost := part.span.lost) is not None:
            dropped.append(Dropped(lost.id, lost.kind, lost.by, part.duration, part.span.end - lost.arrived))
    return Explained(
        held=tuple(held),
        before_client=gaps["client"],
        peer=gaps["task"],
        retransmission=gaps["retransmission"],
        delayed_ack=gaps["delayed ack"],
        pacing=gaps["pacing"],
        unexplained=gaps["kernel"],
        dropped=tuple(dropped),
    )
