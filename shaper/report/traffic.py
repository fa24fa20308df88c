"""Traffic: the packets of one run by flow, as they were sent and as they were delivered."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from functools import cached_property

from shaper.journal import Record
from shaper.report.stream import ByteStream
from shaper.wire.flow import Flow

IPV4_UDP, IPV6_UDP = 28, 48
"""Bytes of the headers, without options."""


def reverse(flow: Flow) -> Flow:
    """The other direction of the same connection."""
    return Flow(flow.protocol, flow.destination, flow.dport, flow.source, flow.sport)


class Direction:
    """The packets of one flow.

    Attributes:
        sent: in the order in which their sender sent them.
        delivered: those that were not dropped, in the order of their delivery.
    """

    def __init__(self, records: Iterable[Record]) -> None:
        self.sent = sorted(records, key=lambda record: record.arrived)
        self.delivered = sorted((r for r in self.sent if r.fate != "dropped"), key=lambda record: record.begin)
        self._begins = [record.begin for record in self.delivered]

    @cached_property
    def stream(self) -> ByteStream:
        return ByteStream(self.sent)

    def first(self, *, without: frozenset[str]) -> Record | None:
        """The packet delivered first whose class is none of these."""
        return next((record for record in self.delivered if record.kind not in without), None)

    def last_before(self, at: int) -> Record | None:
        """The packet whose delivery began last up to this time (ns)."""
        index = bisect_right(self._begins, at)
        return self.delivered[index - 1] if index else None

    def earlier_copy(self, record: Record) -> Record | None:
        """The packet sent last before this one, with the same bytes."""
        same = (record.seq, record.kind in ("syn", "synack", "data", "fin"))
        found = None
        for other in self.sent:
            if other is record:
                return found
            if same[1] and other.seq == same[0] and other.kind == record.kind:
                found = other
        return None


class Traffic:
    """All packets of one run."""

    def __init__(self, records: Iterable[Record]) -> None:
        by_flow: dict[Flow, list[Record]] = {}
        for record in records:
            by_flow.setdefault(record.flow, []).append(record)
        self._directions = {flow: Direction(packets) for flow, packets in by_flow.items()}

    def along(self, record: Record) -> Direction:
        """All packets of this one's direction."""
        return self._directions[record.flow]

    def against(self, record: Record) -> Direction:
        """All packets of the other direction."""
        return self._directions.get(reverse(record.flow)) or Direction(())

    def is_clients(self, record: Record) -> bool:
        """Whether its sender opened the connection: the sender of the SYN, else of the first packet that was seen."""
        first = min(
            (each.sent[0] for each in (self.along(record), self.against(record)) if each.sent),
            key=lambda sent: sent.arrived,
        )
        return (first.flow == record.flow) != (first.kind == "synack")

    def sent_to(self, flow: Flow) -> Direction:
        """What the end with this flow got; of all its peers, if the flow names none."""
        if flow.dport:
            return self._directions.get(reverse(flow)) or Direction(())
        own = flow.protocol, flow.source, flow.sport
        return Direction(
            record
            for other, direction in self._directions.items()
            if (other.protocol, other.destination, other.dport) == own
            for record in direction.sent
        )

    def size(self, record: Record) -> int | None:
        """Bytes of its payload; None where the journal doesn't tell."""
        if record.kind == "udp":
            return record.length - (IPV6_UDP if ":" in record.flow.source else IPV4_UDP)
        direction = self._directions.get(record.flow)
        return None if direction is None else direction.stream.size(record)
