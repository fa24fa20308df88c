"""Traffic: the packets of one run by flow, in the order they were sent and in the order they were delivered."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from functools import cached_property

from shaper.journal import Record
from shaper.report.stream import ByteStream
from shaper.wire.flow import Flow

CARRIERS = frozenset({"syn", "synack", "data", "fin"})
"""Classes of packets that TCP sends again until they are acknowledged."""
IPV4_UDP, IPV6_UDP = 28, 48
"""Bytes of the IP and UDP headers, without options."""


class Direction:
    """The packets of one flow.

    Attributes:
        sent: all of them, in the order they were sent.
        delivered: those that were not dropped, in the order they were delivered.
    """

    def __init__(self, records: Iterable[Record]) -> None:
        self.sent = sorted(records, key=lambda record: record.arrived)
        self.delivered = sorted((r for r in self.sent if r.fate != "dropped"), key=lambda record: record.begin)
        self._arrivals = [record.arrived for record in self.sent]
        self._begins = [record.begin for record in self.delivered]

    @cached_property
    def stream(self) -> ByteStream:
        """The bytes that they carry."""
        return ByteStream(self.sent)

    def first(self, *, without: frozenset[str]) -> Record | None:
        """The first packet delivered whose class is none of these; None if there is none."""
        return next((record for record in self.delivered if record.kind not in without), None)

    def last_before(self, at: int) -> Record | None:
        """The last packet whose delivery began by this time (ns); None if there is none."""
        index = bisect_right(self._begins, at)
        return self.delivered[index - 1] if index else None

    def sent_before(self, record: Record) -> Record | None:
        """The packet sent before this one of the same flow; None if this is the first."""
        index = bisect_left(self._arrivals, record.arrived)
        return self.sent[index - 1] if index else None

    def between(self, since: int, until: int) -> Sequence[Record]:
        """Those sent between these times (ns), the first of them first."""
        return self.sent[bisect_left(self._arrivals, since) : bisect_right(self._arrivals, until)]

    def last_dropped(self, before: int) -> Record | None:
        """The last one sent before this time (ns) that was dropped and that TCP sends again; None if there is none."""
        index = bisect_left(self._dropped, before, key=lambda record: record.arrived)
        return self._dropped[index - 1] if index else None

    def earlier_copy(self, record: Record) -> Record | None:
        """The last packet sent before this one with the same bytes, of which this is a retransmission; else None."""
        copies = self._copies.get((record.seq, _sent_again_as(record)), ())
        index = bisect_left(copies, record.arrived, key=lambda copy: copy.arrived)
        return copies[index - 1] if index else None

    @cached_property
    def _dropped(self) -> list[Record]:
        return [record for record in self.sent if record.fate == "dropped" and record.kind in CARRIERS]

    @cached_property
    def _copies(self) -> dict[tuple[int | None, str], list[Record]]:
        copies: dict[tuple[int | None, str], list[Record]] = {}
        for record in self.sent:
            if record.kind in CARRIERS:
                copies.setdefault((record.seq, _sent_again_as(record)), []).append(record)
        return copies


def _sent_again_as(record: Record) -> str:
    """The kind of its copies. The last data may be sent again together with the FIN."""
    return "data" if record.kind == "fin" else record.kind


class Traffic:
    """All packets of one run."""

    def __init__(self, records: Iterable[Record]) -> None:
        by_flow: dict[Flow, list[Record]] = {}
        for record in records:
            by_flow.setdefault(record.flow, []).append(record)
        self._directions = {flow: Direction(packets) for flow, packets in by_flow.items()}

    def along(self, record: Record) -> Direction:
        """All packets of this packet's flow."""
        return self._directions[record.flow]

    def against(self, record: Record) -> Direction:
        """All packets of the other direction of its connection."""
        return self._directions.get(record.flow.reverse) or Direction(())

    def is_clients(self, record: Record) -> bool:
        """Whether its sender is the client: it sent the SYN, or, if no SYN was seen, the first packet."""
        first = min(
            (each.sent[0] for each in (self.along(record), self.against(record)) if each.sent),
            key=lambda sent: sent.arrived,
        )
        return (first.flow == record.flow) != (first.kind == "synack")

    def sent_to(self, flow: Flow) -> Direction:
        """The packets sent to the end that this flow starts at: by its peer, or by all if the flow names none."""
        if flow.dport:
            return self._directions.get(flow.reverse) or Direction(())
        own = flow.protocol, flow.source, flow.sport
        return Direction(
            record
            for other, direction in self._directions.items()
            if (other.protocol, other.destination, other.dport) == own
            for record in direction.sent
        )

    def size(self, record: Record) -> int | None:
        """Bytes of its payload; None if the journal doesn't show it."""
        if record.kind == "udp":
            return record.length - (IPV6_UDP if ":" in record.flow.source else IPV4_UDP)
        direction = self._directions.get(record.flow)
        return None if direction is None else direction.stream.size(record)
