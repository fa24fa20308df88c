"""mtu: packets that are larger than the path allows are dropped."""

from typing import Literal

from shaper import Action, Drop, Packet, Policy, Send, Size, may_report, s, too_big

DONT_FRAGMENT = 0x40
EXPIRY = 600 * s
"""How long a sender remembers the path's MTU (RFC 8201, section 5.4)."""
MOST = 1024


class MTU(Policy):
    """Packets larger than `size` are dropped, with or without an ICMP message to the sender.

    Without the message, this is a black hole for path MTU discovery: small packets pass, the
    handshake too, and the transfer stalls (RFC 2923, section 2.1). With `icmp=yes` the sender
    gets "fragmentation needed" or "packet too big", and sends smaller packets or fragments.
    No message answers an ICMP error, a later fragment, a multicast, a broadcast, or a source that
    is not one host (RFC 1122, section 3.2.2; RFC 4443, section 2.4).

    Fragments arrive reassembled at the hook `input`, where their size doesn't show. So a
    larger packet passes if it can only have come in fragments. In IPv4 these are packets
    without DF, which routers fragment (RFC 791). In IPv6 they are all but TCP, for ten
    minutes after its sender got the message. With `icmp=yes` the sender gets the message
    first in IPv4, too.

    # mtu size=1000
    +0     < s:syn d:data=1200 e:data=500
    +0     x d
    +0     > s e
    """

    needs = "headers"
    shorthand = "size"
    can_hold = False

    scope: Literal["flow", "connection", "queue"] = "queue"
    """One object for the path: its MTU is the same for all flows between two addresses."""
    size: Size = 1280
    """The largest packet that passes, its IP header included."""
    icmp: bool = False
    """Send the message (RFC 1191, RFC 8201). Linux heeds no size below 552 in IPv4 (sysctl min_pmtu), and
    none below 1280 in IPv6, so with such a `size` the transfer stalls all the same."""

    def start(self) -> None:
        self._told: dict[tuple[bytes, bytes], int] = {}

    def on_packet(self, packet: Packet, now: int) -> list[Action] | None:
        if packet.length <= self.size:
            return None
        is_reported = self.icmp and may_report(packet)
        if self._is_fragmented(packet, now, is_reported):
            return None
        answer = too_big(packet, self.size) if is_reported else None
        if answer is None:
            return [Drop(packet)]
        ends = (packet.ip.source, packet.ip.destination)
        self._told.pop(ends, None)
        self._told[ends] = now
        if len(self._told) > MOST:
            del self._told[next(iter(self._told))]
        return [Drop(packet), Send(answer)]

    def _is_fragmented(self, packet: Packet, now: int, is_reported: bool) -> bool:
        """Whether a packet this large travels in fragments: by its sender, or in IPv4 by a router."""
        ip = packet.ip
        if ip.version == 4 and packet.raw[6] & DONT_FRAGMENT:
            return False
        if ip.version == 4 and not is_reported:
            return True
        told = self._told.get((ip.source, ip.destination))
        knows = told is not None and now - told < EXPIRY
        return knows and (ip.version == 4 or (packet.tcp is None and not ip.fragment))
