"""What the notation can say about a packet, read from its bytes and made into bytes again.

A `PacketSpec` holds enough for policies to treat the packet that `bytes_of` makes from it
as they treat the packet that it was read from.
"""

from __future__ import annotations

import re
from ipaddress import ip_address
from struct import pack
from typing import NamedTuple

from shaper.wire.checksum import put_right
from shaper.wire.header import (
    ACK,
    ANSWER,
    ICMP,
    ICMPV6,
    SYN,
    TCP,
    UDP,
    WRAP,
    fragment_offset,
    read_ends,
    read_ip,
    read_ports,
    read_quoted,
    read_tcp,
)
from shaper.wire.tcp_options import MSS, NO_OPERATION, SACK, end_of_header, read_options

WINDOW = 65535
GRE = 47
"""Stands for every protocol without ports that isn't ICMP."""
FILLER = b"shaper"
"""Payloads that a story gives by their length are made of it."""
TEXT = re.compile(rb"[!-+\--~]{1,20}")  # printable, without space and comma


class Ends(NamedTuple):
    """Source and destination of a packet; a port is 0 if there is none."""

    source: str
    sport: int
    destination: str
    dport: int

    @property
    def reverse(self) -> Ends:
        """The ends of the other direction."""
        return Ends(self.destination, self.dport, self.source, self.sport)


class PacketSpec(NamedTuple):
    """A packet without its addresses.

    Attributes:
        kind: "tcp", "udp", "icmp", "other" or "fragment".
        payload: bytes after the transport header; after the IP header if there is no transport header.
        flags: TCP's, as in the header.
        seq, ack, window: TCP's numbers, as in the header.
        sack: whether it has a SACK block.
        mss: the maximum segment size that it announces; 0 if none.
        options: bytes of TCP options, those of `sack` and `mss` included.
        ecn: the two ECN bits of the IP header (RFC 3168).
        text: the payload, if it is short and printable.
        answers: whether it is an ICMP answer, or an ICMP error, which answers a packet as well.
        id: the identifier of an ICMP query; the identification of a fragment, 0 for one of its own.
        fragmentable: whether it is an IPv4 packet without "don't fragment", and no fragment.
        offset: of a fragment in its datagram, in bytes; the first fragment has 0.
    """

    kind: str
    payload: int
    flags: int = 0
    seq: int = 0
    ack: int = 0
    window: int = WINDOW
    sack: bool = False
    mss: int = 0
    options: int = 0
    ecn: int = 0
    text: str = ""
    answers: bool = False
    id: int = 0
    fragmentable: bool = False
    offset: int = 0


def spec_of(raw: bytes) -> PacketSpec:
    """Read the spec of a packet from its bytes."""
    spec, ip = _spec_of(raw), read_ip(raw)
    is_fragmentable = ip.version == 4 and not ip.fragment and not raw[6] & 0x40
    return spec._replace(fragmentable=is_fragmentable) if is_fragmentable else spec


def _spec_of(raw: bytes) -> PacketSpec:
    ip = read_ip(raw)
    ecn = (raw[1] & 3 if ip.version == 4 else raw[1] >> 4 & 3) if ip.version else 0
    if ip.fragment:
        id = int.from_bytes(raw[4:6] if ip.version == 4 else raw[ip.header - 4 : ip.header])
        return PacketSpec("fragment", ip.length - ip.header, ecn=ecn, id=id, offset=fragment_offset(raw, ip))
    tcp = read_tcp(raw)
    if tcp is not None:
        end = end_of_header(raw, ip.transport)
        options = end - ip.transport - 20
        mss = mss_of(raw, ip.transport)
        text = text_in(raw[end : end + tcp.payload])
        return PacketSpec(
            "tcp", tcp.payload, tcp.flags, tcp.seq, tcp.ack, tcp.window, tcp.sack, mss, options, ecn, text
        )
    at = ip.transport if ip.transport >= 0 else {4: 20, 6: 40}.get(ip.version, 0)
    if ip.protocol == UDP:
        return PacketSpec("udp", max(0, ip.length - at - 8), ecn=ecn, text=text_in(raw[at + 8 :]))
    if ip.protocol in (ICMP, ICMPV6):
        ends = read_ends(raw, ip)
        answers = ends[:1] == ANSWER or bool(read_quoted(raw, ip))
        return PacketSpec("icmp", max(0, ip.length - at - 8), ecn=ecn, answers=answers, id=int.from_bytes(ends[1:]))
    return PacketSpec("other", max(0, ip.length - at), ecn=ecn)


def ends_of(raw: bytes) -> Ends:
    """Read the ends of a packet from its bytes; 0.0.0.0 if they are no IP packet."""
    ip = read_ip(raw)
    if not ip.version:
        return Ends("0.0.0.0", 0, "0.0.0.0", 0)
    sport, dport = read_ports(raw, ip)
    return Ends(str(ip_address(ip.source)), sport, str(ip_address(ip.destination)), dport)


def bytes_of(spec: PacketSpec, ends: Ends, number: int) -> bytes:
    """The bytes of a packet, with correct lengths and checksums.

    Args:
        spec: the packet without its addresses.
        ends: its addresses and ports.
        number: makes it differ from others with the same spec (in IPv4's identification, IPv6's flow label).
    """
    source, destination = ip_address(ends.source), ip_address(ends.destination)
    version = source.version
    protocol, content = _content(spec, ends, version)
    id = spec.id if spec.kind == "fragment" and spec.id else number
    # The first fragment says that more follow, all others that they are the last.
    more = spec.kind == "fragment" and not spec.offset
    if version == 4:
        place = more << 13 | spec.offset >> 3 if spec.kind == "fragment" else 0 if spec.fragmentable else 0x4000
        header = pack("!BBHHHBBH", 0x45, spec.ecn, 20 + len(content), id % 65536, place, 64, protocol, 0)
    else:
        if spec.kind == "fragment":
            content = pack("!BBHI", protocol, 0, spec.offset | more, id % WRAP) + content
            protocol = 44
        first = 6 << 28 | spec.ecn << 20 | number % (1 << 20)
        header = pack("!IHBB", first, len(content), protocol, 64)
    return put_right(header + source.packed + destination.packed + content)


def _content(spec: PacketSpec, ends: Ends, version: int) -> tuple[int, bytes]:
    """The protocol, and the bytes after the IP header."""
    payload = spec.text.encode() if spec.text else (FILLER * (spec.payload // len(FILLER) + 1))[: spec.payload]
    if spec.kind == "tcp":
        options = _options(spec)
        words = (spec.seq, spec.ack, (20 + len(options)) << 2, spec.flags, spec.window, 0, 0)
        return TCP, pack("!HHIIBBHHH", ends.sport, ends.dport, *words) + options + payload
    if spec.kind == "udp":
        return UDP, pack("!HHHH", ends.sport, ends.dport, 0, 0) + payload
    if spec.kind == "icmp":
        echo = (0 if spec.answers else 8) if version == 4 else 129 if spec.answers else 128
        return (ICMP if version == 4 else ICMPV6), pack("!BBHHH", echo, 0, 0, spec.id % 65536 or 1, 1) + payload
    if spec.kind == "fragment":
        header = b"" if spec.offset else pack("!HHHH", ends.sport, ends.dport, len(payload) % 65536, 0)
        return UDP, (header + payload)[: spec.payload]
    return GRE, payload


def _options(spec: PacketSpec) -> bytes:
    options = b""
    if spec.mss:
        options += pack("!BBH", MSS, 4, spec.mss)
    if spec.sack:
        # One block, 2000 bytes beyond what is acknowledged (RFC 2018).
        left = (spec.ack + 2000) % WRAP
        options += pack("!BBBBII", NO_OPERATION, NO_OPERATION, SACK, 10, left, (left + 1000) % WRAP)
    return options + bytes((NO_OPERATION,)) * (spec.options - len(options))


def text_in(payload: bytes) -> str:
    """A short payload that a story can quote; "" for any other, and for the filler."""
    if not TEXT.fullmatch(payload) or payload in FILLER * 5:
        return ""
    return payload.decode("ascii")


def mss_of(raw: bytes, transport: int) -> int:
    """The maximum segment size that a TCP header announces (RFC 9293, section 3.7.1); 0 if it announces none."""
    where = read_options(raw, transport).get(MSS, slice(0, 0))
    return int.from_bytes(raw[where]) if where.stop - where.start == 2 else 0


def implied_options(spec: PacketSpec) -> int:
    """Bytes of TCP options that `mss` and `sack` take, and that no word is needed for."""
    return 4 * bool(spec.mss) + 12 * spec.sack


def end_of(spec: PacketSpec) -> int:
    """The sequence number after this segment."""
    return (spec.seq + spec.payload + bool(spec.flags & SYN) + (spec.flags & 1)) % WRAP


def is_pure_ack(spec: PacketSpec) -> bool:
    """Whether it is a TCP segment with the ACK flag alone and no payload."""
    return spec.kind == "tcp" and spec.flags == ACK and not spec.payload
