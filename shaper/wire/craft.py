"""Packets that a policy makes: what a host or a router on the way would send; and where TCP options are.

Sources: RFC 9293, section 3.5.2 (reset generation); RFC 5961 (a reset counts only if its
sequence number is exactly the next one); RFC 792 and RFC 1191 (fragmentation needed);
RFC 4443, section 3.2 (packet too big); RFC 1122, section 3.2.2, and RFC 4443, section 2.4 (what no
ICMP error answers).
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address
from struct import pack

from shaper.wire.checksum import put_right
from shaper.wire.header import ACK, FIN, ICMP, ICMPV6, RST, SYN, TCP, WRAP
from shaper.wire.packet import Packet
from shaper.wire.tcp_options import read_options

HOPS = 64

NOT_ANSWERED = {
    # Destination unreachable, source quench, redirect, time exceeded, parameter problem (RFC 1122, section 3.2.2); the
    # errors of RFC 1475 and RFC 2521.
    ICMP: frozenset({3, 4, 5, 11, 12, 31, 40}),
    # All errors, known or not, and redirects (RFC 4443, section 2.4, e.1 and e.2).
    ICMPV6: frozenset({*range(128), 137}),
}
"""By protocol, the types of ICMP messages that no ICMP error answers."""


def reset_receiver(packet: Packet) -> Packet | None:
    """A RST in place of this TCP packet, to its receiver; None for other packets."""
    tcp, ip = packet.tcp, packet.ip
    if tcp is None:
        return None
    segment = _segment(tcp.sport, tcp.dport, tcp.seq, tcp.ack, RST | tcp.flags & ACK)
    return _packet(ip.version, ip.source, ip.destination, TCP, segment)


def reset_sender(packet: Packet) -> Packet | None:
    """A RST to the sender of this TCP packet, as an answer to it; None for other packets and for a RST."""
    tcp, ip = packet.tcp, packet.ip
    if tcp is None or tcp.flags & RST:
        return None
    after = tcp.seq + tcp.payload + bool(tcp.flags & SYN) + bool(tcp.flags & FIN)
    segment = _segment(tcp.dport, tcp.sport, tcp.ack if tcp.flags & ACK else 0, after % WRAP, RST | ACK)
    return _packet(ip.version, ip.destination, ip.source, TCP, segment)


def too_big(packet: Packet, mtu: int) -> Packet | None:
    """The ICMP message that reports the path's MTU to the packet's sender; None for what is no IP packet.

    It comes from the packet's destination, since no router's address is known. It quotes as
    much of the packet as the standards ask for, or as much as was copied. Whether it may be sent
    at all says `may_report`.

    Args:
        mtu: in bytes.
    """
    ip = packet.ip
    if ip.version == 4:
        message = pack("!BBHHH", 3, 4, 0, 0, min(mtu, 65535)) + packet.raw[: 576 - 28]
        return _packet(4, ip.destination, ip.source, ICMP, message)
    if ip.version == 6:
        message = pack("!BBHI", 2, 0, 0, mtu) + packet.raw[: 1280 - 48]
        return _packet(6, ip.destination, ip.source, ICMPV6, message)
    return None


def may_report(packet: Packet) -> bool:
    """Whether an ICMP error may be sent to the sender of this packet.

    None is sent about an ICMP error or redirect, a later fragment, or a packet without a transport header to read,
    since it may be one of these; none about a multicast or broadcast; and none if the source is not the address of one
    host. Of broadcasts only those are known whose address says so, since a packet doesn't show a link's netmask.

    Multicasts over IPv6 are left out, too. RFC 4443 allows "packet too big" there, but from a router's address.
    """
    ip, at = packet.ip, packet.ip.transport
    if not ip.version or at < 0 or packet.raw[at] in NOT_ANSWERED.get(ip.protocol, ()):
        return False
    source, destination = ip_address(ip.source), ip_address(ip.destination)
    if source.is_loopback != destination.is_loopback:
        return False
    return is_one_host(source) and is_one_host(destination)


def is_one_host(address: IPv4Address | IPv6Address) -> bool:
    """Whether an address may be a single host's: it isn't unspecified, reserved, a multicast or a known broadcast."""
    if address.is_multicast or address.is_unspecified:
        return False
    if address.version == 6:
        return True
    # 0.0.0.0/8 is "this network", 240.0.0.0/4 was class E, with the limited broadcast at its end (RFC 1122, section
    # 3.2.1.3). Loopback and link-local networks have netmasks that are known (RFC 3927).
    first = address.packed[0]
    return 0 < first < 240 and str(address) not in ("127.255.255.255", "169.254.255.255")


def tcp_options(packet: Packet) -> dict[int, slice]:
    """Where in `packet.raw` the values of its TCP options are, by kind; of a repeated option the last."""
    return read_options(packet.raw, packet.ip.transport) if packet.tcp is not None else {}


def _segment(sport: int, dport: int, seq: int, ack: int, flags: int) -> bytes:
    return pack("!HHIIBBHHH", sport, dport, seq, ack if flags & ACK else 0, 5 << 4, flags, 0, 0, 0)


def _packet(version: int, source: bytes, destination: bytes, protocol: int, content: bytes) -> Packet:
    if version == 4:
        header = pack("!BBHHHBBH", 0x45, 0, 20 + len(content), 0, 0x4000, HOPS, protocol, 0)
    else:
        header = pack("!IHBB", 6 << 28, len(content), protocol, HOPS)
    return Packet(put_right(header + source + destination + content))
