"""mtu: packets that are larger than the path allows are dropped."""

from shaper import Action, Drop, Packet, Policy, Send, Size, too_big


class MTU(Policy):
    """Packets larger than `size` are dropped, with or without an ICMP message to the sender.

    Without the message, this is a black hole for path MTU discovery: small packets pass, the
    handshake too, and the transfer stalls (RFC 2923, section 2.1). With `icmp=yes` the sender
    gets "fragmentation needed" or "packet too big", and sends smaller packets.

    # mtu size=1000
    +0     < s:syn d:data=1200 e:data=500
    +0     x d
    +0     > s e
    """

    needs = "headers"
    shorthand = "size"
    can_hold = False

    size: Size = 1280
    """The largest packet that passes, its IP header included."""
    icmp: bool = False
    """Send the message (RFC 1191, RFC 8201). Linux heeds no size below 552 in IPv4 (sysctl min_pmtu), and
    none below 1280 in IPv6, so with such a `size` the transfer stalls all the same."""

    def on_packet(self, packet: Packet, now: int) -> list[Action] | None:
        if packet.length <= self.size:
            return None
        answer = too_big(packet, self.size) if self.icmp else None
        return [Drop(packet), *([Send(answer)] if answer is not None else [])]
