"""The names of packets, such as "tcp/8080 #1 reply data 2"; docs/timelines.md has the rules.

A name follows from the flow, the class and the sequence number of this packet and of those before it, in the order
of their arrival. The journal has all of these, so it need not have the names.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

from shaper.wire.flow import Flow
from shaper.wire.header import PROTOCOLS
from shaper.wire.packet import Packet
from shaper.wire.segment import CLASSES

SENT_AGAIN = frozenset({"syn", "synack", "data", "fin"})
"""The classes that take sequence numbers, so that a retransmission can be told from another packet."""
DIRECTIONS = ("original", "reply")
MOST_FLOWS = 1 << 17
"""The most flows remembered; each connection has two."""
MOST_SEGMENTS = 1 << 12
"""The most segments of one flow whose retransmissions are recognised: the latest."""


class PacketName(NamedTuple):
    """The name of one packet of a run.

    Attributes:
        service: "tcp/8080", "icmp"; empty where the connection is counted among those to all services.
        connection: its number, from 1.
        direction: "original" or "reply".
        kind: the class.
        nth: its number among the packets of this kind and direction, from 1.
        again: which retransmission of that packet this is, from 1; 0 for the packet itself.
    """

    service: str
    connection: int
    direction: str
    kind: str
    nth: int
    again: int = 0

    def __str__(self) -> str:
        words = [self.service] if self.service else []
        words += [f"#{self.connection}", self.direction, self.kind, str(self.nth)]
        words += ["again"] if self.again else []
        words += [str(self.again)] if self.again > 1 else []
        return " ".join(words)

    @classmethod
    def parse(cls, text: str) -> PacketName:
        """A name as `str` writes it.

        Raises:
            ValueError: the text is no name; the message says which word is wrong.
        """
        words = text.split()
        service = words.pop(0) if words and not words[0].startswith("#") else ""
        if service and not _is_service(service):
            raise ValueError(f"'{service}' is no service, such as tcp/8080, udp/53 or icmp")
        if len(words) not in (4, 5, 6):
            raise ValueError(f"'{text}' is not [SERVICE] #CONNECTION DIRECTION KIND NTH [again [N]]")
        connection, direction, kind, nth, *rest = words
        if direction not in DIRECTIONS:
            raise ValueError(f"'{direction}' is none of {', '.join(DIRECTIONS)}")
        if kind not in CLASSES:
            raise ValueError(f"'{kind}' is no segment class ({', '.join(CLASSES)})")
        if rest and rest[0] != "again":
            raise ValueError(f"'{rest[0]}' is not 'again'")
        again = _number(rest[1]) if len(rest) > 1 else len(rest)
        return cls(service, _number(connection.removeprefix("#")), direction, kind, _number(nth), again)


def _is_service(text: str) -> bool:
    protocol, slash, port = text.partition("/")
    is_protocol = protocol in (*PROTOCOLS.values(), "other") or (protocol.isdecimal() and int(protocol) < 256)
    return is_protocol and (not slash or (port.isascii() and port.isdecimal() and 0 < int(port) < 1 << 16))


def _number(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and 0 < len(text) < 19 and int(text)):
        raise ValueError(f"'{text}' is no number from 1 on")
    return int(text)


class _Connection:
    """A connection, with its number among those to its service and among all."""

    def __init__(self, service: str, number: int, overall: int) -> None:
        self.service, self.number, self.overall = service, number, overall


class _Side:
    """One direction of a connection, and what was sent in it so far."""

    def __init__(self, connection: _Connection, direction: str) -> None:
        self.connection, self.direction = connection, direction
        self._counts: dict[str, int] = {}
        # By class and sequence number: the packet's number, and how often it was sent again.
        self._sent: dict[tuple[str, int], tuple[int, int]] = {}

    def count(self, kind: str, seq: int | None) -> tuple[int, int]:
        """The number of the next packet, and which retransmission it is."""
        if kind not in SENT_AGAIN or seq is None:
            nth = self._counts[kind] = self._counts.get(kind, 0) + 1
            return nth, 0
        earlier = self._sent.pop((kind, seq), None)
        if earlier is None:
            self._counts[kind] = self._counts.get(kind, 0) + 1
            earlier = self._counts[kind], -1
            if len(self._sent) >= MOST_SEGMENTS:
                del self._sent[next(iter(self._sent))]
        found = self._sent[kind, seq] = earlier[0], earlier[1] + 1
        return found

    def has_sent(self, kind: str, seq: int | None = None) -> bool:
        """Whether a packet of this class, and if given with this sequence number, was sent."""
        return kind in self._counts if seq is None else (kind, seq) in self._sent

    @property
    def has_only_opened(self) -> bool:
        """Whether all that it has sent is a SYN, or nothing."""
        return self._counts.keys() <= {"syn"}


class Namer:
    """Names the packets of one run, in the order of their arrival."""

    def __init__(self) -> None:
        self._sides: OrderedDict[Flow, _Side] = OrderedDict()
        self._connections: dict[str, int] = {}
        self._overall = 0

    def packet(self, packet: Packet) -> PacketName:
        """The name of the next packet, which was classified already."""
        return self.both(packet)[0]

    def both(self, packet: Packet) -> tuple[PacketName, PacketName]:
        """The names of the next packet, which was classified already: with its service, and without."""
        root = packet.root
        tcp = root.tcp
        return self.names(root.flow, root.kind, None if tcp is None else tcp.seq)

    def names(self, flow: Flow, kind: str, seq: int | None) -> tuple[PacketName, PacketName]:
        """The names of the next packet: with its service, and without.

        Args:
            flow, kind: its own; a fragment's flow is that of its datagram, where it is known.
            seq: its sequence number; None without a TCP header.
        """
        side = self._sides.get(flow)
        if side is None or self._opens_another(side, flow, kind, seq):
            side = self._open(flow, kind)
        nth, again = side.count(kind, seq)
        of = side.connection
        name = PacketName(of.service, of.number, side.direction, kind, nth, again)
        return name, name._replace(service="", connection=of.overall)

    def _opens_another(self, side: _Side, flow: Flow, kind: str, seq: int | None) -> bool:
        """Whether a SYN or SYN-ACK begins another connection between the same ends."""
        if kind not in ("syn", "synack") or side.has_sent(kind, seq):
            return False
        other = self._sides.get(flow.reverse)
        if kind == "synack":
            # One that answers a SYN belongs to it; one whose SYN wasn't seen opens a connection after the first.
            return side.has_sent("synack") and not (other is not None and other.has_sent("syn"))
        # A SYN after the other end's SYN alone is a simultaneous open (RFC 9293, section 3.5).
        is_first = side.has_only_opened and not side.has_sent("syn")
        return not (is_first and other is not None and other.has_only_opened)

    def _open(self, flow: Flow, kind: str) -> _Side:
        is_answer = kind == "synack" or (flow.protocol.startswith("icmp") and flow.dport > 0)
        port = flow.sport if is_answer else flow.dport
        has_port = port and not flow.protocol.startswith("icmp")
        service = f"{flow.protocol}/{port}" if has_port else flow.protocol
        number = self._connections[service] = self._connections.get(service, 0) + 1
        self._overall += 1
        connection = _Connection(service, number, self._overall)
        for each in (flow.reverse, flow):
            self._sides.pop(each, None)
            self._sides[each] = _Side(connection, DIRECTIONS[(each == flow) == is_answer])
        while len(self._sides) > MOST_FLOWS:
            self._sides.popitem(last=False)
        return self._sides[flow]
