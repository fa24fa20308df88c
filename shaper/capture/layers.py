"""The headers before the IP packet in a frame, each a function that finds the IP packet behind it.

A layer is given the frame, the offset of its own header, and a list to which it adds the fields that hold the length
of what follows, so that they can be put right when the packet's length changes. It returns the offset of the IP packet,
or what the frame holds instead, in a few words such as "ARP".

Sources: IEEE 802.1Q, 802.1ad, 802.1ah, 802.1CB, 802.1AE, 802.2, 802.11; RFC 3032 and 4385 (MPLS), RFC 2516 (PPPoE),
RFC 1661 and 1662 (PPP), RFC 1042 (SNAP), RFC 2427 (frame relay), the LINKTYPE_ pages of tcpdump.org.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple


class LengthField(NamedTuple):
    """A field with a length.

    Attributes:
        at: its offset in the frame.
        order: its byte order, "big" or "little"; it has two bytes.
        start: the offset of the first byte that it counts.
    """

    at: int
    order: str
    start: int


Lengths = list[LengthField]
Found = int | str
Layer = Callable[[bytes, int, Lengths], Found]

IPV4, IPV6 = 0x0800, 0x86DD
SHORT = "too short"
"""The frame ends within its headers."""
TAGS = {
    0x8100: 4, 0x88A8: 4, 0x9100: 4, 0x9200: 4, 0x9300: 4,  # VLAN tags, by IEEE's number and by older ones
    0x8926: 6,  # Cisco's VN-Tag
    0xF1C1: 6,  # 802.1CB
}  # fmt: skip
"""EtherType -> bytes from the end of this EtherType to the end of the next."""
ETHERTYPES = {
    0x0806: "ARP", 0x8035: "RARP", 0x809B: "AppleTalk", 0x80F3: "AARP", 0x8137: "IPX", 0x8138: "IPX",
    0x0842: "Wake-on-LAN", 0x2000: "CDP", 0x2004: "DTP", 0x22F0: "AVTP", 0x22F3: "TRILL", 0x6002: "DEC MOP",
    0x6003: "DECnet", 0x6004: "LAT", 0x0600: "XNS", 0x0BAD: "VINES", 0x8204: "QNX", 0x8808: "Ethernet flow control",
    0x8809: "LACP or OAM", 0x880B: "PPP", 0x8819: "CobraNet", 0x8863: "PPPoE discovery", 0x886D: "Intel ANS",
    0x887B: "HomePlug", 0x888E: "EAPOL", 0x8892: "PROFINET", 0x8899: "Realtek", 0x889A: "HyperSCSI", 0x88A2: "AoE",
    0x88A4: "EtherCAT", 0x88AB: "POWERLINK", 0x88B5: "experimental", 0x88B6: "experimental", 0x88B7: "OUI Extended",
    0x88B8: "GOOSE", 0x88B9: "GSE", 0x88BA: "sampled values", 0x88CA: "TIPC", 0x88C7: "RSN pre-authentication",
    0x88CC: "LLDP", 0x88CD: "SERCOS III", 0x88D9: "LLTD", 0x886F: "Microsoft NLB", 0x88E1: "HomePlug AV", 0x88E3: "MRP",
    0x88E5: "MACsec", 0x88F5: "MVRP", 0x88F7: "PTP", 0x88F8: "NC-SI", 0x88FB: "PRP", 0x8902: "CFM",
    0x8906: "FCoE", 0x8914: "FIP", 0x8915: "RoCE", 0x891D: "TTEthernet", 0x892F: "HSR",
    0x893A: "IEEE 1905.1", 0x894F: "NSH", 0x9000: "loopback test", 0x9003: "Slow Protocols", 0xCAFE: "VSS monitoring",
    0x4305: "B.A.T.M.A.N.", 0x0707: "GeoNetworking", 0x890D: "802.11 over Ethernet", 0x8847: "MPLS", 0x8848: "MPLS",
    0x888F: "ISMACryp", 0x0807: "XNS", 0x000C: "CAN", 0x000D: "CAN FD",
}  # fmt: skip
PPP_PROTOCOLS = {
    0x0023: "OSI", 0x0029: "AppleTalk", 0x002B: "IPX", 0x002D: "compressed TCP/IP", 0x002F: "TCP/IP, not compressed",
    0x003D: "PPP multilink", 0x0031: "PPP bridging", 0x0053: "PPP encryption", 0x00FB: "compressed PPP",
    0x00FD: "compressed PPP", 0x0207: "CDP", 0x8021: "IPCP", 0x8057: "IPv6CP", 0x80FD: "CCP", 0x8281: "MPLSCP",
    0xC021: "LCP", 0xC023: "PAP", 0xC025: "LQR", 0xC029: "CBCP", 0xC02D: "BAP", 0xC223: "CHAP", 0xC227: "EAP",
}  # fmt: skip
SAPS = {
    0x00: "LLC", 0x04: "SNA", 0x05: "SNA", 0x08: "SNA", 0x0C: "SNA", 0x42: "STP", 0x80: "XNS", 0x98: "ARP",
    0xBC: "VINES", 0xE0: "IPX", 0xF0: "NetBIOS", 0xF4: "LAN management", 0xFC: "LLC", 0xFE: "OSI", 0xFF: "IPX",
}  # fmt: skip
NLPIDS = {
    0x08: "Q.933", 0x81: "OSI", 0x82: "OSI", 0x83: "IS-IS", 0xB0: "compressed frames", 0xB1: "FRF.12", 0xCF: "PPP",
}  # fmt: skip
FAMILIES = {2: "IP", 10: "IP", 23: "IP", 24: "IP", 26: "IP", 28: "IP", 30: "IP"}
"""AF_INET, and AF_INET6 as Linux, Windows, NetBSD, Solaris, FreeBSD and macOS number it."""


def word(data: bytes, at: int) -> int:
    """Two bytes as a big-endian number; -1 if the frame ends before."""
    return data[at] << 8 | data[at + 1] if at + 2 <= len(data) else -1


def ip(data: bytes, at: int, lengths: Lengths) -> Found:
    """The IP packet itself."""
    version = data[at] >> 4 if at < len(data) else 0
    if version == 4:
        return at if len(data) - at >= 20 else SHORT
    if version == 6:
        return at if len(data) - at >= 40 else SHORT
    return SHORT if at >= len(data) else "no IP header"


def ethernet(data: bytes, at: int, lengths: Lengths) -> Found:
    """Ethernet II or 802.3."""
    return ethertype(word(data, at + 12), data, at + 14, lengths)


def ethertype(kind: int, data: bytes, at: int, lengths: Lengths) -> Found:
    """What follows an EtherType, or the length that stands in its place in 802.3.

    Args:
        kind: the EtherType, or the length.
        data: the frame.
        at: where that begins which follows it.
        lengths: see the module.
    """
    while kind in TAGS:
        at += TAGS[kind]
        kind = word(data, at - 2)
    if kind in (IPV4, IPV6):
        return ip(data, at, lengths)
    if kind < 0:
        return SHORT
    if kind <= 1500:
        lengths.append(LengthField(at - 2, "big", at))
        return "IPX" if data[at : at + 2] == b"\xff\xff" else llc(data, at, lengths)
    if kind in (0x8847, 0x8848):
        return mpls(data, at, lengths)
    if kind == 0x8864:
        return pppoe(data, at, lengths)
    if kind == 0x88E7:  # 802.1ah: a whole frame behind the service's number
        return ethernet(data, at + 4, lengths)
    if kind == 0x88E5:
        return macsec(data, at, lengths)
    if kind == 0x8870:
        return llc(data, at, lengths)
    if kind == 0x6558:
        return ethernet(data, at, lengths)
    if kind == 0x8903:  # a whole frame behind the tag
        return ethernet(data, at + 2, lengths)
    return ETHERTYPES.get(kind) or f"EtherType {kind:#06x}"


def macsec(data: bytes, at: int, lengths: Lengths) -> Found:
    """802.1AE, of which only what is authenticated but not encrypted can be read."""
    if at >= len(data):
        return SHORT
    if data[at] & 0x0C:
        return "encrypted MACsec"
    at += 14 if data[at] & 0x20 else 6
    return ethertype(word(data, at), data, at + 2, lengths)


def mpls(data: bytes, at: int, lengths: Lengths) -> Found:
    """A stack of labels; IP behind it, or Ethernet, with a control word or without (RFC 4385, RFC 4448)."""
    while at + 4 <= len(data) and not data[at + 2] & 1:
        at += 4
    at += 4
    if at >= len(data):
        return SHORT
    found: list[Found] = []
    if _looks_like_ip(data, at):
        return ip(data, at, lengths)
    for inner in (at + 4, at) if not data[at] >> 4 else (at,):
        # What precedes it doesn't say what it is. Ethernet is believed if IP or ARP is in it.
        tried: Lengths = []
        there = ethernet(data, inner, tried)
        found.append(there)
        if isinstance(there, int):
            lengths += tried
            return there
    return "ARP" if "ARP" in found else "MPLS"


def _looks_like_ip(data: bytes, at: int) -> bool:
    version = data[at] >> 4
    if version == 4:
        return data[at] & 15 >= 5 and len(data) - at >= 20 and word(data, at + 2) >= 20
    return version == 6 and len(data) - at >= 40


def pppoe(data: bytes, at: int, lengths: Lengths) -> Found:
    """A session's frame (RFC 2516)."""
    lengths.append(LengthField(at + 4, "big", at + 6))
    return ppp_protocol(data, at + 6, lengths)


def ppp(data: bytes, at: int, lengths: Lengths) -> Found:
    """PPP, with HDLC's address and control or without, or Cisco's HDLC, which shares link types with it."""
    start = data[at : at + 2]
    if start == b"\xff\x03":
        return ppp_protocol(data, at + 2, lengths)
    if start in (b"\x0f\x00", b"\x8f\x00"):
        return chdlc(data, at, lengths)
    return ppp_protocol(data, at, lengths)


def ppp_protocol(data: bytes, at: int, lengths: Lengths) -> Found:
    """What follows a PPP protocol's number, which has one byte or two."""
    if at >= len(data):
        return SHORT
    if data[at] & 1:
        kind, at = data[at], at + 1
    else:
        kind, at = word(data, at), at + 2
    if kind in (0x0021, 0x0057):
        return ip(data, at, lengths)
    if kind in (0x0281, 0x0283):
        return mpls(data, at, lengths)
    return SHORT if kind < 0 else PPP_PROTOCOLS.get(kind) or f"PPP protocol {kind:#06x}"


def ppp_with_direction(data: bytes, at: int, lengths: Lengths) -> Found:
    """PPP behind a byte with the direction."""
    return ppp(data, at + 1, lengths)


def ppp_pppd(data: bytes, at: int, lengths: Lengths) -> Found:
    """PPP as pppd writes it: the direction stands in place of the address."""
    return ppp_protocol(data, at + 2 if data[at + 1 : at + 2] == b"\x03" else at + 1, lengths)


def chdlc(data: bytes, at: int, lengths: Lengths) -> Found:
    """Cisco's HDLC."""
    kind = word(data, at + 2)
    if kind == 0x8035:
        return "SLARP"
    if kind == 0xFEFE:
        return "OSI"
    return ethertype(kind, data, at + 4, lengths)


def llc(data: bytes, at: int, lengths: Lengths) -> Found:
    """802.2, with SNAP or a number for IP itself."""
    if at + 3 > len(data):
        return SHORT
    sap, start = data[at], data[at : at + 3]
    if start == b"\xaa\xaa\x03":
        return snap(data, at + 3, lengths)
    if start == b"\x06\x06\x03":
        return ip(data, at + 3, lengths)
    if start == b"\xfe\xfe\x03":
        return nlpid(data, at + 3, lengths)
    return SAPS.get(sap) or f"LLC {sap:#04x}"


def classical_ip(data: bytes, at: int, lengths: Lengths) -> Found:
    """Linux's classical IP over ATM: with a header of LLC or without."""
    return llc(data, at, lengths) if data[at : at + 1] == b"\xaa" else ip(data, at, lengths)


def snap(data: bytes, at: int, lengths: Lengths) -> Found:
    """An organisation, and a protocol of it."""
    organisation, kind = data[at : at + 3], word(data, at + 3)
    if kind < 0:
        return SHORT
    if organisation in (b"\0\0\0", b"\0\0\xf8"):
        # An EtherType can't be a length here.
        return ethertype(kind, data, at + 5, lengths) if kind > 1500 else f"EtherType {kind:#06x}"
    if organisation == b"\0\x80\xc2" and kind in (1, 7):  # bridged Ethernet (RFC 2684)
        inner = at + 5
        # ATM has two bytes of padding before it.
        return ethernet(data, inner + 2 * (data[inner : inner + 2] == b"\0\0"), lengths)
    if organisation == b"\0\x80\xc2" and kind in (0xA, 0xE):
        return "STP"
    if organisation == b"\0\0\x0c":
        cisco = {0x2000: "CDP", 0x2003: "VTP", 0x2004: "DTP", 0x010B: "STP", 0x0111: "UDLD", 0x0104: "PAgP"}
        return cisco.get(kind, "Cisco")
    return f"SNAP {organisation.hex(':')}"


def nlpid(data: bytes, at: int, lengths: Lengths) -> Found:
    """ISO's number of a network layer protocol (RFC 2427)."""
    if at >= len(data):
        return SHORT
    kind = data[at]
    if kind in (0xCC, 0x8E):
        return ip(data, at + 1, lengths)
    if kind == 0x80:
        return snap(data, at + 1, lengths)
    if kind == 0xCF:
        return ppp_protocol(data, at + 1, lengths)
    return NLPIDS.get(kind) or f"NLPID {kind:#04x}"


def frame_relay(data: bytes, at: int, lengths: Lengths) -> Found:
    """Frame relay, as RFC 2427 or as Cisco has it."""
    while at < len(data) and not data[at] & 1:
        at += 1
    at += 1
    if data[at : at + 1] != b"\x03":
        return ethertype(word(data, at), data, at + 2, lengths)
    at += 1
    return nlpid(data, at + (data[at : at + 1] == b"\0"), lengths)


def loopback(data: bytes, at: int, lengths: Lengths) -> Found:
    """BSD's loopback: the address family, in the byte order of the machine."""
    family = data[at : at + 4]
    number = min(int.from_bytes(family, "little"), int.from_bytes(family))
    if len(family) < 4:
        return SHORT
    return ip(data, at + 4, lengths) if number in FAMILIES else f"address family {number}"


def cooked(data: bytes, at: int, lengths: Lengths) -> Found:
    """Linux's header for any device, version 1."""
    return _cooked(word(data, at + 14), word(data, at + 2), data, at + 16, lengths)


def cooked2(data: bytes, at: int, lengths: Lengths) -> Found:
    """Linux's header for any device, version 2."""
    return _cooked(word(data, at), word(data, at + 8), data, at + 20, lengths)


def _cooked(kind: int, hardware: int, data: bytes, at: int, lengths: Lengths) -> Found:
    """What follows a protocol of Linux (linux/if_ether.h), which may depend on the hardware (linux/if_arp.h)."""
    if hardware == 824:
        return "netlink"
    if hardware == 803:
        return radiotap(data, at, lengths)
    if kind == 1:
        return "IPX"
    if kind == 4:
        return llc(data, at, lengths)
    if 0 <= kind <= 1500 and kind not in ETHERTYPES:
        return f"Linux protocol {kind:#06x}"
    return ETHERTYPES[kind] if 0 <= kind <= 1500 else ethertype(kind, data, at, lengths)


def nflog(data: bytes, at: int, lengths: Lengths) -> Found:
    """Linux's netfilter log: fields with a type and a length, one of which is the packet (type 9)."""
    at += 4
    while at + 4 <= len(data):
        # The byte order is that of the machine, and only the type, which is small and never 0, shows it.
        order, kind = ("little", data[at + 2]) if data[at + 2] else ("big", data[at + 3])
        length = word(data, at) if order == "big" else int.from_bytes(data[at : at + 2], "little")
        if length < 4:
            return "damaged NFLOG"
        if kind == 9:
            lengths.append(LengthField(at, order, at))
            return ip(data, at + 4, lengths)
        at += length + -length % 4
    return "NFLOG without a packet"


def wireless(data: bytes, at: int, lengths: Lengths) -> Found:
    """802.11: the data of a frame that is neither encrypted nor a bundle of several."""
    return _wireless(data, at, lengths, pads=False)


def _wireless(data: bytes, at: int, lengths: Lengths, *, pads: bool) -> Found:
    if at + 24 > len(data):
        kind = data[at] >> 2 & 3 if at < len(data) else 2
        return ("802.11 management", "802.11 control", SHORT, "802.11 extension")[kind]
    kind, subtype, flags = data[at] >> 2 & 3, data[at] >> 4, data[at + 1]
    if kind != 2:
        return ("802.11 management", "802.11 control", "", "802.11 extension")[kind]
    if subtype & 4:
        return "802.11 without data"
    if flags & 0x40:
        return "encrypted 802.11"
    header = 24 + 6 * (flags & 3 == 3)
    if subtype & 8:
        if data[at + header : at + header + 1] >= b"\x80":
            return "802.11 A-MSDU"
        header += 2 + 4 * (flags >> 7)
    return llc(data, at + (header + 3 & ~3 if pads else header), lengths)


def radiotap(data: bytes, at: int, lengths: Lengths) -> Found:
    """802.11 behind radiotap's header, whose flags may say that the 802.11 header is padded to four bytes."""
    if at + 8 > len(data):
        return SHORT
    length = int.from_bytes(data[at + 2 : at + 4], "little")
    present, field = int.from_bytes(data[at + 4 : at + 8], "little"), at + 8
    more = present
    while more >> 31 and field + 4 <= len(data):
        more = int.from_bytes(data[field : field + 4], "little")
        field += 4
    if present & 1:  # a time, aligned to eight bytes
        field = at + (field - at + 7 & ~7) + 8
    pads = bool(present & 2) and data[field : field + 1] != b"" and bool(data[field] & 0x20)
    return _wireless(data, at + length, lengths, pads=pads)


def prism(data: bytes, at: int, lengths: Lengths) -> Found:
    """802.11 behind Prism's header, or AVS's, which shares the link type."""
    if data[at : at + 3] == b"\x80\x21\x10":
        return avs(data, at, lengths)
    length = int.from_bytes(data[at + 4 : at + 8], "little")
    return wireless(data, at + (length if 8 <= length <= 1024 else int.from_bytes(data[at + 4 : at + 8])), lengths)


def avs(data: bytes, at: int, lengths: Lengths) -> Found:
    """802.11 behind AVS's header."""
    return wireless(data, at + int.from_bytes(data[at + 4 : at + 8]), lengths)


def token_ring(data: bytes, at: int, lengths: Lengths) -> Found:
    """802.5, with a route for its bridges or without."""
    if at + 16 > len(data):
        return SHORT
    if data[at + 1] & 0xC0 != 0x40:
        return "token ring MAC"
    return llc(data, at + 14 + (data[at + 14] & 31 if data[at + 8] & 0x80 else 0), lengths)


def fddi(data: bytes, at: int, lengths: Lengths) -> Found:
    """FDDI."""
    return llc(data, at + 13, lengths) if data[at : at + 1] and data[at] & 0x70 == 0x50 else "FDDI MAC"
