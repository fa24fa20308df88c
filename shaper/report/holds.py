"""The holds of a packet as intervals, and how such intervals explain a wait.

To explain a wait, one walks back from its end: over the holds of the packet that ended
it, to what had that packet sent, over the holds of the packet before it, and so on. The
probe finds these steps by the calls of its two ends, the tracer by the kernel's events.
How the steps are laid over the wait is the same for both, and is here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Generic, NamedTuple, Protocol, TypeVar

from shaper.journal import Record
from shaper.report.blocking import SHAPER, HoldPart


class Interval(Protocol):
    """Anything that lasts from `start` to `end`, in ns."""

    @property
    def start(self) -> int:
        """When it began."""

    @property
    def end(self) -> int:
        """When it was over."""


Span = TypeVar("Span", bound=Interval)


class PacketHold(NamedTuple):
    """How long one policy held a packet: from `start` to `end`, in ns."""

    start: int
    end: int
    record: Record
    policy: str

    def part(self, duration: int) -> HoldPart:
        """The part of this hold, so long (ns), that explains a wait."""
        return HoldPart(self.record.id, self.record.kind, self.policy, duration, self.end - self.start)


def holds(record: Record) -> list[PacketHold]:
    """The holds of a packet in order of time. If its verdict was late, the last hold includes that.

    A packet that no policy held was on its way through shaper for a moment, too: that is a hold by `SHAPER`.
    """
    if not record.held:
        return [PacketHold(record.arrived, record.begin, record, SHAPER)]
    found, start = [], record.arrived
    for index, held in enumerate(record.held, 1):
        end = record.begin if index == len(record.held) else start + held.ns
        found.append(PacketHold(start, end, record, held.policy))
        start = end
    return found


class Part(NamedTuple, Generic[Span]):
    """A part of a wait, from `start` to `end` (ns), and the span that explains it; None if none does."""

    start: int
    end: int
    span: Span | None = None

    @property
    def duration(self) -> int:
        """In ns."""
        return self.end - self.start


def tile(spans: Iterable[Span], start: int, end: int) -> Iterator[Part[Span]]:
    """Lay spans over the wait from `start` to `end` (ns), from its end backwards.

    The parts join without gap or overlap, so their durations add up to the wait. The times
    of spans come from several sources, so spans may overlap: the first one has the time. No
    more spans are taken than the wait needs.

    Args:
        spans: the last first.
    """
    at = end
    for span in spans:
        # By clocks that differ a little, a span may end before it starts; then it explains nothing.
        until = max(span.start, span.end, start)
        if until < at:
            yield Part(until, at)
            at = until
        since = max(span.start, start)
        if since < at:
            yield Part(since, at, span)
            at = since
        if at <= start:
            return
    if start < at:
        yield Part(start, at)
