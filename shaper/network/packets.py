"""The packets of a network, as a test asks for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import overload

from shaper.journal import Record, names_of
from shaper.units import ms
from shaper.wire.naming import PacketName
from shaper.wire.segment import CLASSES

SHOWN = ms // 20
"""Holds of this length (ns) are shown."""


@dataclass(frozen=True)
class PacketSeen:
    """One packet, and what became of it.

    Attributes:
        record: all that is known of it.
        name: such as "tcp/8080 #1 reply data 2"; None if a policy made it.
        at_ms: when it came, in ms since the first packet of the network.
    """

    record: Record
    name: PacketName | None
    at_ms: float

    @property
    def kind(self) -> str:
        """Its class: "syn", "synack", "data" …"""
        return self.record.kind

    @property
    def direction(self) -> str:
        """ "original", of the end that began the connection, or "reply"; empty if a policy made it."""
        return self.name.direction if self.name else ""

    @property
    def fate(self) -> str:
        """ "sent", "dropped" or "injected"."""
        return self.record.fate

    @property
    def held_ms(self) -> float:
        """How long the policies held it."""
        return sum(held.ns for held in self.record.held) / ms

    @property
    def is_retransmission(self) -> bool:
        """It was sent before."""
        return self.name is not None and self.name.again > 0

    def __str__(self) -> str:
        holds = [held for held in self.record.held if held.ns >= SHOWN]
        what = [f"held {held.ns / ms:.1f} ms by {held.policy}" for held in holds]
        if self.fate != "sent":
            what.append(f"{self.fate} by {self.record.by}")
        name = str(self.name) if self.name else f"{self.record.flow} {self.kind}"
        return f"{self.at_ms:9.1f} ms  {name}, {self.record.length} bytes{''.join(f', {each}' for each in what)}"


class Packets(Sequence[PacketSeen]):
    """Packets in the order in which they came. Printed, there is a line for each."""

    def __init__(self, packets: Sequence[PacketSeen]) -> None:
        self._packets = packets

    @classmethod
    def of_records(cls, records: Sequence[Record]) -> Packets:
        """Those of a journal, in any order."""
        first = min((record.arrived for record in records), default=0)
        pairs = zip(records, names_of(records), strict=True)
        seen = [PacketSeen(record, name, (record.arrived - first) / ms) for record, name in pairs]
        return cls(sorted(seen, key=lambda packet: packet.record.arrived))

    def since(self, when: int) -> Packets:
        """Those that came since then (ns of CLOCK_MONOTONIC), with names and times as if no others had come before."""
        if not self._packets or self._packets[0].record.arrived >= when:
            return self
        return self.of_records([packet.record for packet in self._packets if packet.record.arrived >= when])

    @overload
    def __getitem__(self, at: int) -> PacketSeen: ...
    @overload
    def __getitem__(self, at: slice) -> Packets: ...
    def __getitem__(self, at: int | slice) -> PacketSeen | Packets:
        return Packets(self._packets[at]) if isinstance(at, slice) else self._packets[at]

    def __len__(self) -> int:
        return len(self._packets)

    def __iter__(self) -> Iterator[PacketSeen]:
        return iter(self._packets)

    def __str__(self) -> str:
        return "\n".join(map(str, self._packets))

    def _where(self, holds: Callable[[PacketSeen], bool]) -> Packets:
        return Packets([packet for packet in self._packets if holds(packet)])

    def of(self, *kinds: str, direction: str | None = None, service: str | None = None) -> Packets:
        """Those of these classes, this direction and this service, where given.

        Raises:
            ValueError: there is no such class or direction.
        """
        for kind in kinds:
            if kind not in CLASSES:
                raise ValueError(f"there is no class '{kind}' of packets; there are {', '.join(CLASSES)}")
        if direction not in (None, "original", "reply"):
            raise ValueError(f"a direction is 'original' or 'reply', not '{direction}'")

        def is_wanted(packet: PacketSeen) -> bool:
            if service is not None and (packet.name is None or packet.name.service != service):
                return False
            return (not kinds or packet.kind in kinds) and direction in (None, packet.direction)

        return self._where(is_wanted)

    @property
    def dropped(self) -> Packets:
        """Those that a policy dropped."""
        return self._where(lambda packet: packet.fate == "dropped")

    @property
    def held(self) -> Packets:
        """Those that a policy held."""
        return self._where(lambda packet: packet.held_ms > 0)

    @property
    def retransmissions(self) -> Packets:
        """Those that were sent before."""
        return self._where(lambda packet: packet.is_retransmission)
