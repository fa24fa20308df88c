"""IP and TCP headers, read with struct: what is looked at in every packet.

Sources: RFC 791 (IPv4), RFC 8200 section 4 (IPv6 and its extension headers), RFC 9293
(TCP), RFC 2018 (SACK). Nothing here raises an error for a bad packet: what can't be read
is a protocol without ports, or no TCP header.
"""

from struct import Struct
from typing import Final, NamedTuple

from shaper.wire.tcp_options import SACK, read_options

ICMP, TCP, UDP, ICMPV6 = 1, 6, 17, 58
PROTOCOLS = {ICMP: "icmp", TCP: "tcp", UDP: "udp", ICMPV6: "icmp6"}
# TCP, UDP, DCCP, SCTP, UDP-Lite: source and destination port come first.
WITH_PORTS: Final = frozenset({TCP, UDP, 33, 132, 136})

FIN, SYN, RST, PSH, ACK, URG, ECE, CWR = (1 << bit for bit in range(8))
FLAGS = "FSRPAUEC"
WRAP: Final = 1 << 32
"""Sequence numbers are counted modulo this."""

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
        return IP(4, raw[9], raw[12:16], raw[16:20], header if readable else -1, fragment, length or len(raw))
    if version == 6 and len(raw) >= 40:
        protocol, transport, fragment = _skip_extensions(raw)
        length = 40 + (raw[4] << 8 | raw[5])
        return IP(6, protocol, raw[8:24], raw[24:40], transport, fragment, length if length > 40 else len(raw))
    return IP(0, 255, b"", b"", -1, False, len(raw))


def _skip_extensions(raw: bytes) -> tuple[int, int, bool]:
    """The transport protocol behind IPv6's extension headers, its offset, and whether this is a fragment."""
    protocol, at = raw[6], 40
    while protocol in (HOP_BY_HOP, ROUTING, FRAGMENT, AUTHENTICATION, DESTINATION):
        if at + 8 > len(raw):
            return protocol, -1, False
        following = raw[at]
        if protocol == FRAGMENT:
            # Only the first fragment has the headers that follow, and all fragments must look the same.
            is_first = not (raw[at + 2] or raw[at + 3] & 0xF8)
            return following, at + 8 if is_first and at + 8 < len(raw) else -1, True
        if protocol == AUTHENTICATION:
            at += (raw[at + 1] + 2) * 4
        else:
            at += (raw[at + 1] + 1) * 8
        protocol = following
    return protocol, at if at < len(raw) else -1, False


def flow_key(raw: bytes) -> bytes:
    """What all packets of one flow have in common: protocol, addresses and, where there are any, ports.

    All fragments of a datagram share a key without ports, since only the first has them.
    """
    # The common case: IPv4 without options, not a fragment.
    if len(raw) >= 24 and raw[0] == 0x45 and not raw[7] and not raw[6] & 0x3F and raw[9] in WITH_PORTS:
        return _protocol_bytes[raw[9]] + raw[12:24]
    ip = read_ip(raw)
    key = _protocol_bytes[ip.protocol] + ip.source + ip.destination
    if ip.protocol in WITH_PORTS and not ip.fragment and 0 <= ip.transport <= len(raw) - 4:
        key += raw[ip.transport : ip.transport + 4]
    return key


def read_ports(raw: bytes, ip: IP) -> tuple[int, int]:
    """Source and destination port, (0, 0) where there are none."""
    if ip.protocol in WITH_PORTS and not ip.fragment and 0 <= ip.transport <= len(raw) - 4:
        sport, dport = _ports(raw, ip.transport)
        return sport, dport
    return 0, 0


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
