"""What a story says of a packet's bytes, and those bytes again.

A `PacketSpec` is all that the notation tells of a packet: enough for policies to treat the
packet that `bytes_of` makes from it as they treat the one that it was read from.
"""

from __future__ import annotations

import re
from ipaddress import ip_address
from struct import pack
from typing import NamedTuple

from shaper.wire.checksum import put_right
from shaper.wire.header import ACK, ICMP, ICMPV6, SYN, TCP, UDP, WRAP, read_ip, read_ports, read_tcp
from shaper.wire.tcp_options import MSS, NO_OPERATION, SACK, end_of_header, read_options

WINDOW = 65535
GRE = 47  # stands for every protocol without ports that isn't ICMP
FILLER = b"shaper"
TEXT = re.compile(rb"[!-+\--~]{1,20}")  # printable, without space and comma


class Ends(NamedTuple):
    """Where a packet comes from and goes to; ports are 0 where there are none."""

    source: str
    sport: int
    destination: str
    dport: int

    @property
    def reverse(self) -> Ends:
        return Ends(self.destination, self.dport, self.source, self.sport)


class PacketSpec(NamedTuple):
    """What can be said of a packet.

    Attributes:
        kind: "tcp", "udp", "icmp", "other" or "fragment".
        payload: bytes behind the transport header; behind the IP header where there is none.
        options: bytes of TCP options.
        ecn: the two bits of RFC 3168 in the IP header.
        seq, ack: as in the bytes.
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


def spec_of(raw: bytes) -> PacketSpec:
    """Read a packet's look from its bytes."""
    ip = read_ip(raw)
    ecn = (raw[1] & 3 if ip.version == 4 else raw[1] >> 4 & 3) if ip.version else 0
    if ip.fragment:
        return PacketSpec("fragment", ip.length - (20 if ip.version == 4 else 48), ecn=ecn)
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
        return PacketSpec("icmp", max(0, ip.length - at - 8), ecn=ecn)
    return PacketSpec("other", max(0, ip.length - at), ecn=ecn)


def ends_of(raw: bytes) -> Ends:
    ip = read_ip(raw)
    if not ip.version:
        return Ends("0.0.0.0", 0, "0.0.0.0", 0)
    sport, dport = read_ports(raw, ip)
    return Ends(str(ip_address(ip.source)), sport, str(ip_address(ip.destination)), dport)


def bytes_of(look: PacketSpec, ends: Ends, number: int) -> bytes:
    """A packet that looks so, with right lengths and checksums.

    Args:
        look: what it is to look like.
        ends: where it comes from and goes to.
        number: sets it apart from others of the same look (in IPv4's identification, IPv6's flow label).
    """
    source, destination = ip_address(ends.source), ip_address(ends.destination)
    version = source.version
    protocol, content = _content(look, ends, version)
    if version == 4:
        more_fragments = 0x2000 if look.kind == "fragment" else 0
        header = pack("!BBHHHBBH", 0x45, look.ecn, 20 + len(content), number % 65536, more_fragments, 64, protocol, 0)
    else:
        if look.kind == "fragment":
            content = pack("!BBHI", protocol, 0, 1, number % WRAP) + content
            protocol = 44
        first = 6 << 28 | look.ecn << 20 | number % (1 << 20)
        header = pack("!IHBB", first, len(content), protocol, 64)
    return put_right(header + source.packed + destination.packed + content)


def _content(look: PacketSpec, ends: Ends, version: int) -> tuple[int, bytes]:
    """The protocol and the bytes behind the IP header."""
    payload = look.text.encode() if look.text else (FILLER * (look.payload // len(FILLER) + 1))[: look.payload]
    if look.kind == "tcp":
        options = _options(look)
        words = (look.seq, look.ack, (20 + len(options)) << 2, look.flags, look.window, 0, 0)
        return TCP, pack("!HHIIBBHHH", ends.sport, ends.dport, *words) + options + payload
    if look.kind == "udp":
        return UDP, pack("!HHHH", ends.sport, ends.dport, 0, 0) + payload
    if look.kind == "icmp":
        echo = 8 if version == 4 else 128
        return (ICMP if version == 4 else ICMPV6), pack("!BBHHH", echo, 0, 0, 1, 1) + payload
    return (UDP if look.kind == "fragment" else GRE), payload


def _options(look: PacketSpec) -> bytes:
    options = b""
    if look.mss:
        options += pack("!BBH", MSS, 4, look.mss)
    if look.sack:
        # One block, two segments beyond what is acknowledged (RFC 2018).
        left = (look.ack + 2000) % WRAP
        options += pack("!BBBBII", NO_OPERATION, NO_OPERATION, SACK, 10, left, (left + 1000) % WRAP)
    return options + bytes((NO_OPERATION,)) * (look.options - len(options))


def text_in(payload: bytes) -> str:
    """A short payload that can stand in a story as it is; "" for others, and for what stands for any payload."""
    if not TEXT.fullmatch(payload) or payload in FILLER * 5:
        return ""
    return payload.decode("ascii")


def mss_of(raw: bytes, transport: int) -> int:
    """The maximum segment size that the TCP header announces (RFC 9293, section 3.7.1); 0 where it doesn't."""
    where = read_options(raw, transport).get(MSS, slice(0, 0))
    return int.from_bytes(raw[where]) if where.stop - where.start == 2 else 0


def least_options(look: PacketSpec) -> int:
    """Bytes of the options that a look names itself, which then needn't be told."""
    return 4 * bool(look.mss) + 12 * look.sack


def end_of(look: PacketSpec) -> int:
    """The sequence number after this segment."""
    return (look.seq + look.payload + bool(look.flags & SYN) + (look.flags & 1)) % WRAP


def is_bare_ack(look: PacketSpec) -> bool:
    return look.kind == "tcp" and look.flags == ACK and not look.payload
