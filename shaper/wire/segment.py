"""The class of each packet, found once, before it enters the pipeline.

| class         | meaning |
|---------------|---------|
| syn, synack   | opens a connection, answers that |
| handshake-ack | the opener's first ACK without payload, with the SYN's sequence number plus one; and its repeats |
| pure-ack      | no payload, acknowledges something new |
| dup-ack       | no payload, acknowledges the same again with the same window (RFC 5681, section 2) or SACK blocks |
| window-update | no payload, acknowledges the same with another window |
| data, fin, rst | carries payload; ends its direction of the connection; aborts the connection |
| udp, icmp     | the protocols (ICMPv6 included) |
| other         | everything else: keep-alive probes, ACKs that were overtaken, other protocols, junk |

A FIN or RST with payload is a fin or rst. Each direction is classified by its own
packets alone, so the classes are the same when only one direction is queued.

Fragments have the class of their protocol, the first and all others: udp or icmp, and data
for TCP, since only segments with payload are long enough to be fragmented.
"""

from typing import Final

from shaper.wire.header import ACK, FIN, ICMP, ICMPV6, IP, RST, SYN, TCP, UDP, WRAP, TCPHeader

CLASSES = (
    "syn", "synack", "handshake-ack", "pure-ack", "dup-ack", "window-update",
    "data", "fin", "rst", "udp", "icmp", "other",
)  # fmt: skip
HALF: Final = 1 << 31


class SenderState:
    """What the sender of one direction of a TCP connection has sent so far."""

    __slots__ = ("ack", "begin", "handshake_ack", "isn", "next", "opened", "synack_isn", "window")

    def __init__(self) -> None:
        # Each is -1 while it isn't known.
        self.isn = -1  # the sequence number of its SYN without ACK
        self.synack_isn = -1  # that of its SYN-ACK
        self.opened = -1  # the sequence number after its SYN and what that carried
        self.begin = -1  # `next` when its connection began, else the sequence number of the first segment seen
        self.next = -1  # the sequence number after the highest sent
        self.ack = -1
        self.window = -1
        self.handshake_ack = -1

    def classify(self, tcp: TCPHeader) -> str:
        """The class of the next segment that it has sent."""
        _, _, seq, ack, flags, window, payload, _ = tcp
        if flags & RST:
            # It may carry a number of no connection (RFC 9293, section 3.5.2), so it says nothing about what follows.
            return "rst"
        if payload and not flags & (SYN | FIN):
            name, after = "data", (seq + payload) % WRAP
        else:
            name = self._class(tcp)
            after = (seq + payload + bool(flags & SYN) + bool(flags & FIN)) % WRAP
        if self.next < 0:
            self.begin, self.next = seq, after
        elif (after - self.next) % WRAP < HALF or name in ("syn", "synack"):
            self.next = after
        if flags & ACK and (self.ack < 0 or (ack - self.ack) % WRAP < HALF):
            self.ack, self.window = ack, window
        return name

    @property
    def is_opening(self) -> bool:
        """It has sent a SYN, and has acknowledged nothing since (the state SYN-SENT of RFC 9293)."""
        return self.isn >= 0 and self.ack < 0

    @property
    def has_sent(self) -> bool:
        """It has sent something that takes sequence numbers since its connection began: a SYN, data, a FIN."""
        return self.next != self.begin

    def _is_up_to_date(self, tcp: TCPHeader) -> bool:
        """No segment that acknowledges more has overtaken it."""
        return self.ack < 0 or (tcp.ack - self.ack) % WRAP < HALF

    def _class(self, tcp: TCPHeader) -> str:
        if tcp.flags & SYN:
            if tcp.flags & ACK:
                if tcp.seq != self.synack_isn:
                    # The answer to another connection's SYN: what this end acknowledged before counts no longer.
                    self.synack_isn, self.ack = tcp.seq, -1
                return "synack"
            self.isn, self.synack_isn, self.ack, self.handshake_ack = tcp.seq, -1, -1, -1
            self.opened = (tcp.seq + 1 + tcp.payload) % WRAP
            return "syn"
        if tcp.flags & FIN:
            return "fin"
        if not tcp.flags & ACK:
            return "other"
        if self._completes_handshake(tcp):
            self.handshake_ack = tcp.ack
            return "handshake-ack"
        if not self._is_up_to_date(tcp):
            return "other"
        if tcp.ack != self.ack:
            return "pure-ack"
        if tcp.seq != self.next:
            return "other"
        return "dup-ack" if tcp.window == self.window or tcp.sack else "window-update"

    def _completes_handshake(self, tcp: TCPHeader) -> bool:
        if self.isn < 0 or tcp.seq != (self.isn + 1) % WRAP or self.next != self.opened:
            return False
        return self.handshake_ack in (-1, tcp.ack)


def classify_other(ip: IP) -> str:
    """The class of a packet that has no TCP header, or none that can be read."""
    if ip.transport < 0 and not ip.fragment:
        return "other"
    if ip.protocol == UDP:
        return "udp"
    if ip.protocol in (ICMP, ICMPV6):
        return "icmp"
    return "data" if ip.protocol == TCP and ip.fragment else "other"
