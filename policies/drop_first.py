"""drop_first: the n-th segment of a class is dropped."""

from shaper import Classes, Count, Drop, Packet, Policy

PUSH = "P"


class DropFirst(Policy):
    """The n-th segment of a class is dropped, in each flow; what comes after passes, its retransmission too.

    Which classes are counted says `only=`, data by default. So each kind of recovery can be
    provoked at will: `only=syn` makes the connection wait for the first retransmission
    (1 s, RFC 6298), a segment in the middle of a bulk transfer is retransmitted fast after
    three duplicate ACKs, and the last one by a probe (RFC 8985) or the RTO.

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
    """Count these classes alone; others pass untouched."""
    nth: Count = 1
    """Drop the so many-th segment that is counted; 0: none."""
    count: Count = 1
    """Drop so many in a row; with 2, the retransmission of a lone segment is lost as well."""
    push: bool = False
    """Count segments with the PSH flag alone, which end what an application wrote."""

    def start(self) -> None:
        self._seen = 0

    def on_packet(self, packet: Packet, now: int) -> Drop | None:
        if self.push and (packet.tcp is None or PUSH not in packet.tcp.flag_names):
            return None
        self._seen += 1
        return Drop(packet) if self.nth and self.nth <= self._seen < self.nth + self.count else None
