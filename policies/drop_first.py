"""drop_first: the nth segment of a class is dropped."""

from shaper import Classes, Count, Drop, Packet, Policy

PUSH = "P"


class DropFirst(Policy):
    """In each flow, the nth segment of a class is dropped; later packets pass, its retransmission too.

    `only=` says which classes are counted; by default it is data. So you can provoke each
    kind of recovery. With `only=syn` the connection waits for the first retransmission (1 s,
    RFC 6298). A segment in the middle of a bulk transfer is retransmitted after three
    duplicate ACKs, the last one after a probe (RFC 8985) or the RTO.

    # drop_first
    +0     < s:syn
    +0     > s
    +.001  < k:ack d:data=6 f:fin
    +0     x d
    +0     > k f
    +.200  < d2:data=6,seq=1        the retransmission
    +0     > d2
    """

    needs = "headers"
    shorthand = "nth"
    can_hold = False

    only: Classes = frozenset({"data"})
    """Count only these classes; other packets pass untouched."""
    nth: Count = 1
    """Which of the counted segments is dropped, from 1; 0: none."""
    count: Count = 1
    """How many in a row are dropped; with 2, the retransmission of a lone segment is lost as well."""
    push: bool = False
    """Count only segments with the PSH flag: each is the end of what the application wrote."""

    def start(self) -> None:
        self._seen = 0

    def on_packet(self, packet: Packet, now: int) -> Drop | None:
        if self.push and (packet.tcp is None or PUSH not in packet.tcp.flag_names):
            return None
        self._seen += 1
        return Drop(packet) if self.nth and self.nth <= self._seen < self.nth + self.count else None
