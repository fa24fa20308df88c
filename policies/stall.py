"""stall: from an event on, all packets of a flow are held for a time."""

from shaper import Classes, Count, Duration, Packet, Policy, Send, ms


class Stall(Policy):
    """Once, from an event on, all packets of a flow are held for a time, then go on together and in order.

    The event is a packet that carries the nth byte of the flow's payload, or is of a given
    class, or contains a pattern; whichever comes first. So you can stall an application in
    the middle of a header, between request and answer, or before the close.

    # stall time=50ms byte=150
    +0     < a b c          the second segment carries the 150th byte
    +0     > a
    +.050  > b c
    +0     < d
    +0     > d
    """

    shorthand = "time"

    time: Duration = 500 * ms
    """How long the stall lasts."""
    byte: Count = 1
    """The byte of the payload that starts it, from 1; 0: no byte does. Retransmissions don't count again."""
    segment: Classes = frozenset()
    """Segment classes that start it."""
    pattern: str = ""
    """Text that starts it, if one packet's payload contains it."""

    def start(self) -> None:
        self._until: int | None = None
        self._first: int | None = None
        self._seen = 0

    def on_packet(self, packet: Packet, now: int) -> Send | None:
        if self._until is None and self._begins(packet):
            self._until = now + self.time
        return None if self._until is None or now >= self._until else Send(packet, at=self._until)

    def _begins(self, packet: Packet) -> bool:
        tcp, ip = packet.tcp, packet.ip
        if packet.kind in self.segment:
            return True
        if tcp is not None:
            # A SYN takes a sequence number, and its data comes behind it (TCP Fast Open).
            is_opening = packet.kind in ("syn", "synack")
            begins = tcp.seq + is_opening
            if self._first is None or is_opening:
                self._first = begins
            # Where this segment ends in the stream; sequence numbers wrap (RFC 9293, section 3.4).
            position = (begins - self._first) % (1 << 32)
            end = position + tcp.payload if position < 1 << 31 else 0
            payload = packet.raw[packet.length - tcp.payload :] if tcp.payload else b""
        elif packet.kind == "icmp" and not (packet.flow.sport or packet.flow.dport):
            return False  # an ICMP error about the flow carries nothing of it
        else:
            # Of a datagram's fragments only the first has a transport header.
            begin = ip.transport + 8 if ip.transport >= 0 else ip.header if ip.fragment else packet.length
            payload = packet.raw[begin:]
            end = self._seen = self._seen + max(0, packet.length - begin)
        carries_byte = 0 < self.byte <= end and bool(payload or packet.truncated)
        return carries_byte or bool(self.pattern and self.pattern.encode() in payload)
