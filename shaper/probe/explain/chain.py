"""The chain of causes behind a blocking, and what part of it each held packet explains.

A packet whose delivery wakes a task was sent for a reason: the kernel answered another
packet (SYN-ACK after SYN), a task was woken by one and wrote, a timer ran out, or the
client began of itself. Walking from reason to reason back to the start of the blocking
tiles its whole duration: holds, and the gaps between them by their kind. Who finds the
reasons differs (the probe by its calls, the tracer by the kernel's wakings); the
arithmetic is here, and pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

from shaper.journal import Record
from shaper.report.blocking import HoldPart

By = Literal["kernel", "task", "timer", "client"]


class Cause(NamedTuple):
    """Why a packet was sent.

    Attributes:
        by: the kernel, at once on a delivery; a task that a delivery had woken; a timer (a
            retransmission, a delayed ACK); or the client, of itself.
        record: the packet whose delivery it was; for a retransmission the packet sent
            before, whether delivered or not; None where nothing came before.
        repeats: the packet is a retransmission of `record`.
    """

    by: By
    record: Record | None = None
    repeats: bool = False

    @property
    def since(self) -> int:
        """When it began, in ns; 0 where nothing came before."""
        if self.record is None:
            return 0
        return self.record.arrived if self.repeats else self.record.begin


class Explained(NamedTuple):
    """What made up a duration, in ns; the parts and `unexplained` add up to it."""

    held: tuple[HoldPart, ...] = ()
    before_client: int = 0
    peer: int = 0
    timer: int = 0
    unexplained: int = 0


class Span(NamedTuple):
    """From `since` to `until` (ns): either one policy's hold of a packet, or a gap by its kind."""

    since: int
    until: int
    record: Record | None = None
    policy: str = ""
    by: By = "kernel"


def holds(record: Record) -> list[Span]:
    """One packet's holds in order of time; how late its verdict came counts to the last."""
    spans, since = [], record.arrived
    for index, (policy, duration) in enumerate(record.held, 1):
        until = record.begin if index == len(record.held) else since + duration
        spans.append(Span(since, until, record, policy))
        since = until
    return spans


def way_back(waker: Record, cause_of: Callable[[Record], Cause]) -> Iterator[Span]:
    """Everything that led to the waker's delivery, the last first; the first cause has no beginning (0)."""
    record: Record | None = waker
    delivered = True
    while record is not None:
        if delivered:
            yield from reversed(holds(record))
        cause = cause_of(record)
        yield Span(cause.since, record.arrived, by=cause.by)
        record, delivered = cause.record, not cause.repeats


def explain(start: int, end: int, waker: Record | None, cause_of: Callable[[Record], Cause]) -> Explained:
    """What made up the time from `start` to `end` (ns), which the waker's delivery ended."""
    held: list[HoldPart] = []
    gaps: dict[By, int] = {"kernel": 0, "task": 0, "timer": 0, "client": 0}
    covered = end  # everything after it is accounted for
    for span in way_back(waker, cause_of) if waker is not None else ():
        duration = min(span.until, covered) - max(span.since, start)
        if duration > 0 and span.record is not None:
            record = span.record
            held.append(HoldPart(record.id, record.kind, span.policy, duration, span.until - span.since))
        elif duration > 0:
            gaps[span.by] += duration
        covered = min(covered, max(span.since, start))
        if covered <= start:
            break
    named = sum(part.duration for part in held) + gaps["client"] + gaps["task"] + gaps["timer"]
    return Explained(tuple(held), gaps["client"], gaps["task"], gaps["timer"], end - start - named)
