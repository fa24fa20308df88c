"""IP, TCP and ICMP headers, read with struct: what is looked at in every packet.

Sources: RFC 791 (IPv4), RFC 8200 section 4 (IPv6 and its extension headers), RFC 2675 (jumbograms), RFC 9293
(TCP), RFC 2018 (SACK), RFC 792 and RFC 4443 (ICMP). Nothing here raises an error for a bad
packet: what can't be read is a protocol without ports, or no TCP header.
"""

from struct import Struct
from typing import Final, NamedTuple

from shaper.wire.tcp_options import SACK, read_options

ICMP, TCP, UDP, ICMPV6 = 1, 6, 17, 58
PROTOCOLS = {ICMP: "icmp", TCP: "tcp", UDP: "udp", ICMPV6: "icmp6"}
# TCP, UDP, DCCP, SCTP, UDP-Lite: source and destination port come first.
WITH_PORTS: Final = frozenset({TCP, UDP, 33, 132, 136})

REQUEST: Final = b"?"
ANSWER: Final = b"!"
# ICMP messages with an identifier, by protocol and type. RFC 792: echo, timestamp, information; RFC 950: address mask;
# RFC 4443: echo; RFC 8335: extended echo.
QUERIES: Final = {
    **{(ICMP, kind): REQUEST for kind in (8, 13, 15, 17, 42)},
    **{(ICMP, kind): ANSWER for kind in (0, 14, 16, 18, 43)},
    **{(ICMPV6, kind): REQUEST for kind in (128, 160)},
    **{(ICMPV6, kind): ANSWER for kind in (129, 161)},
}
# ICMP messages that quote the packet that caused them.
ERRORS: Final = {ICMP: frozenset({3, 4, 5, 11, 12}), ICMPV6: frozenset({1, 2, 3, 4})}

FIN, SYN, RST, PSH, ACK, URG, ECE, CWR = (1 << bit for bit in range(8))
FLAGS = "FSRPAUEC"
WRAP: Final = 1 << 32
"""Sequence numbers are counted modulo this."""

JUMBO: Final = 0xC2
HOP_BY_HOP, ROUTING, FRAGMENT, AUTHENTICATION, DESTINATION = 0, 43, 44, 51, 60

_protocol_bytes: Final = [bytes((number,)) for number in range(256)]
_new: Final = tuple.__new__

_ports = Struct("!HH").unpack_from
_tcp = Struct("!HHIIBBH").unpack_from
# An IPv4 header without options and a TCP header: the packet's length, fragmentation and protocol, then as in _tcp.
_tcp_in_ipv4: Final = Struct("!BxHxxHxBxx8xHHIIBBH").unpack_from


class IP(NamedTuple):
    """An IPv4 header, or an IPv6 header with its extensions."""

    version: int  # 4 or 6; 0 where the packet is neither
    protocol: int
    source: bytes
    destination: bytes
    transport: int  # offset of the transport header, -1 where there is none to read
    fragment: bool  # part of a fragmented datagram, the first included
    length: int  # of the whole packet in bytes, as the header has it
    header: int  # bytes of this header; IPv6's extensions count, in a fragment up to the fragment header


class TCPHeader(NamedTuple):
    """A TCP header; `payload` is the number of bytes that follow it."""

    sport: int
    dport: int
    seq: int
    ack: int
    flags: int
    window: int
    payload: int
    sack: bool  # carries SACK blocks

    @property
    def is_bare_ack(self) -> bool:
        """It does nothing but acknowledge: no payload, no other flag, no SACK block."""
        return self.flags == ACK and not self.payload and not self.sack

    @property
    def flag_names(self) -> str:
        """The flags as letters, lowest bit first: "SA" for SYN-ACK."""
        return "".join(name for bit, name in enumerate(FLAGS) if self.flags >> bit & 1)


def read_ip(raw: bytes) -> IP:
    """The IP header at the beginning of these bytes; version 0 and protocol 255 where there is none."""
    version = raw[0] >> 4 if raw else 0
    if version == 4 and len(raw) >= 20:
        header = (raw[0] & 15) * 4
        fragment = bool(raw[6] & 0x3F or raw[7])
        readable = header >= 20 and len(raw) > header and not (raw[6] & 0x1F or raw[7])
        length = raw[2] << 8 | raw[3]
        return IP(4, raw[9], raw[12:16], raw[16:20], header if readable else -1, fragment, length or len(raw), header)
    if version == 6 and len(raw) >= 40:
        protocol, transport, fragment, header = _skip_extensions(raw)
        length = 40 + (raw[4] << 8 | raw[5])
        if length == 40:
            jumbo = jumbo_length(raw)
            length = 40 + int.from_bytes(raw[jumbo : jumbo + 4]) if jumbo else len(raw)
        return IP(6, protocol, raw[8:24], raw[24:40], transport, fragment, length, header)
    return IP(0, 255, b"", b"", -1, False, len(raw), 0)


def jumbo_length(raw: bytes) -> int:
    """Where the jumbo payload option (RFC 2675) of an IPv6 packet has the length of the payload; 0 without one."""
    if len(raw) < 48 or raw[6] != HOP_BY_HOP or raw[4] or raw[5]:
        return 0
    at, end = 42, min(40 + (raw[41] + 1) * 8, len(raw))
    while at + 6 <= end and raw[at] != JUMBO:
        at += 1 if raw[at] == 0 else 2 + raw[at + 1]
    return at + 2 if at + 6 <= end else 0


def _skip_extensions(raw: bytes) -> tuple[int, int, bool, int]:
    """The protocol behind IPv6's extension headers, its offset, whether this is a fragment, and `IP.header`."""
    protocol, at, header = raw[6], 40, 0
    while protocol in (HOP_BY_HOP, ROUTING, FRAGMENT, AUTHENTICATION, DESTINATION):
        if at + 8 > len(raw):
            return protocol, -1, header > 0, header or at
        following = raw[at]
        if protocol == FRAGMENT:
            # Only the first fragment has the headers that follow. Offset 0 without more to come is a whole packet
            # (RFC 6946).
            if raw[at + 2] or raw[at + 3] & 0xF8:
                return following, -1, True, at + 8
            if raw[at + 3] & 1:
                header = at + 8
            at += 8
        elif protocol == AUTHENTICATION:
            at += (raw[at + 1] + 2) * 4
        else:
            at += (raw[at + 1] + 1) * 8
        protocol = following
    return protocol, at if at < len(raw) else -1, header > 0, header or at


def plain_key(raw: bytes) -> bytes:
    """`flow_key` of a packet that is whole, and has its ports right behind the IP header; empty for other packets."""
    if len(raw) >= 24 and raw[0] == 0x45 and not raw[7] and not raw[6] & 0x3F and raw[9] in WITH_PORTS:
        return _protocol_bytes[raw[9]] + raw[12:24]
    if len(raw) >= 44 and raw[0] >> 4 == 6 and raw[6] in WITH_PORTS:
        return _protocol_bytes[raw[6]] + raw[8:44]
    return b""


def flow_key(raw: bytes) -> bytes:
    """What all packets of one flow have in common: protocol, addresses and what `read_ends` returns.

    The key is that of the packet's own header. Which flow a later fragment belongs to, and which connection an ICMP
    error, is known to `shaper.core.connections`.
    """
    key = plain_key(raw)
    if key:
        return key
    ip = read_ip(raw)
    return _protocol_bytes[ip.protocol] + ip.source + ip.destination + read_ends(raw, ip)


def reverse_key(key: bytes) -> bytes:
    """The flow key of the other direction. The answer to an ICMP query has the query's reverse key."""
    source, destination, ends = split_key(key)
    ends = (ANSWER if ends[:1] == REQUEST else REQUEST) + ends[1:] if len(ends) == 3 else ends[2:] + ends[:2]
    return key[:1] + destination + source + ends


def split_key(key: bytes) -> tuple[bytes, bytes, bytes]:
    """Source and destination of a flow key, empty for what is no IP packet, and what `read_ends` returned."""
    size = 16 if len(key) >= 33 else 4 if len(key) >= 9 else 0
    return key[1 : 1 + size], key[1 + size : 1 + 2 * size], key[1 + 2 * size :]


def is_answer(key: bytes) -> bool:
    """Whether the packets with this flow key answer ICMP queries."""
    return len(key) in (12, 36) and key[-3:-2] == ANSWER


def read_ends(raw: bytes, ip: IP) -> bytes:
    """What tells apart the flows between two addresses.

    Four bytes with both ports; of an ICMP query REQUEST or ANSWER, and the identifier; else nothing. All but the first
    fragment of a datagram have nothing.
    """
    at = ip.transport
    if ip.protocol in WITH_PORTS:
        return raw[at : at + 4] if 0 <= at <= len(raw) - 4 else b""
    if ip.protocol in ERRORS and 0 <= at <= len(raw) - 6 and (role := QUERIES.get((ip.protocol, raw[at]))):
        return role + raw[at + 4 : at + 6]
    return b""


def read_ports(raw: bytes, ip: IP) -> tuple[int, int]:
    """Source and destination port, (0, 0) where there are none."""
    if ip.protocol in WITH_PORTS and 0 <= ip.transport <= len(raw) - 4:
        sport, dport = _ports(raw, ip.transport)
        return sport, dport
    return 0, 0


def read_quoted(raw: bytes, ip: IP) -> bytes:
    """The beginning of the packet that an ICMP error is about, from its IP header on; empty for other packets."""
    at = ip.transport
    return raw[at + 8 :] if at >= 0 and ip.protocol in ERRORS and raw[at] in ERRORS[ip.protocol] else b""


def fragment_offset(raw: bytes, ip: IP) -> int:
    """Where a fragment begins in its datagram, in bytes; 0 for what is no fragment."""
    if not ip.fragment:
        return 0
    if ip.version == 4:
        return (raw[6] & 0x1F) << 11 | raw[7] << 3
    return raw[ip.header - 6] << 8 | raw[ip.header - 5] & 0xF8


def datagram_key(raw: bytes, ip: IP) -> bytes:
    """What all fragments of one datagram have in common (RFC 791, section 3.2; RFC 8200, section 4.5)."""
    if ip.version == 4:
        return _protocol_bytes[ip.protocol] + raw[4:6] + ip.source + ip.destination
    return raw[ip.header - 4 : ip.header] + ip.source + ip.destination


def read_tcp(raw: bytes) -> TCPHeader | None:
    """The TCP header; None where the packet has none, or where not all of its first 20 bytes were copied."""
    if len(raw) >= 40 and raw[0] == 0x45:
        # The common case takes one call of struct.
        _, length, fragment, protocol, sport, dport, seq, ack, offset, flags, window = _tcp_in_ipv4(raw)
        if protocol != TCP or fragment & 0x3FFF:
            return None
        at, length = 20, length or len(raw)
    else:
        ip = read_ip(raw)
        at, length = ip.transport, ip.length
        if ip.protocol != TCP or ip.fragment or at < 0 or at + 20 > len(raw):
            return None
        sport, dport, seq, ack, offset, flags, window = _tcp(raw, at)
    size = (offset >> 4) * 4
    if size < 20:
        return None
    payload = length - at - size
    # Most headers don't contain the byte at all, so few have to be searched.
    sack = SACK in raw[at + 20 : at + size] and SACK in read_options(raw, at)
    # TCPHeader(…), but without a call in Python.
    return _new(TCPHeader, (sport, dport, seq, ack, flags, window, payload if payload > 0 else 0, sack))
