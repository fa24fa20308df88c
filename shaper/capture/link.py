"""Link types: what they are called, and how the IP packet is found in a frame.

Source: the LINKTYPE_ list of tcpdump.org.
"""

from __future__ import annotations

from typing import NamedTuple

from shaper.capture import layers
from shaper.capture.layers import Found, Layer, Lengths, ethertype, word


class LinkType(NamedTuple):
    """A link type.

    Attributes:
        number: LINKTYPE_ number.
        name: for people.
        layer: finds the IP packet in a frame; None where there is none, or none that shaper can find.
    """

    number: int
    name: str
    layer: Layer | None

    def find(self, data: bytes) -> Found:
        """The offset of the IP packet in a frame, or what the frame holds instead, such as "ARP"."""
        # By far the most common frame takes one call.
        if self.number == 1 and data[12:14] == b"\x08\x00" and len(data) >= 34 and data[14] >> 4 == 4:
            return 14
        return self._look(data, [])

    def around(self, data: bytes, packet: bytes, before: int = 0) -> bytes:
        """A frame with another IP packet in it: the headers stay, and the lengths in them are put right.

        What followed the packet, such as padding or a check sequence, stays if the new one is as long.

        Args:
            data: a frame of this type that has an IP packet.
            packet: the other one.
            before: how many bytes the packet in the frame has; 0 if what follows it shall not stay.
        """
        lengths: Lengths = []
        start = self._look(data, lengths)
        start = start if isinstance(start, int) else len(data)
        frame = bytearray(data[:start]) + packet
        for at, order, begin in lengths:
            length = min(len(frame) - begin, 0xFFFF)
            frame[at : at + 2] = length.to_bytes(2, "little" if order == "little" else "big")
        return bytes(frame) + (data[start + before :] if before == len(packet) else b"")

    def _look(self, data: bytes, lengths: Lengths) -> Found:
        if self.layer is None:
            return self.name
        try:
            return self.layer(data, 0, lengths)
        except IndexError:
            return layers.SHORT


def behind(size: int, layer: Layer) -> Layer:
    """The layer behind a header of this many bytes."""
    return lambda data, at, lengths: layer(data, at + size, lengths)


def typed(place: int, size: int) -> Layer:
    """What follows a header of this many bytes, which has an EtherType at `place`."""
    return lambda data, at, lengths: ethertype(word(data, at + place), data, at + size, lengths)


def per_packet(data: bytes, at: int, lengths: Lengths) -> Found:
    """PPI: a header that names the link type behind it."""
    link = link_type(int.from_bytes(data[at + 4 : at + 8], "little"))
    size = int.from_bytes(data[at + 2 : at + 4], "little")
    return link.layer(data, at + size, lengths) if link.layer and size >= 8 else link.name


def pktap(data: bytes, at: int, lengths: Lengths) -> Found:
    """Apple's header, which has its own length and the link type behind it."""
    link = link_type(int.from_bytes(data[at + 8 : at + 12], "little"))
    size = int.from_bytes(data[at : at + 4], "little")
    return link.layer(data, at + size, lengths) if link.layer and size >= 12 else link.name


def pflog(data: bytes, at: int, lengths: Lengths) -> Found:
    """OpenBSD's packet filter: a header with its own length."""
    return layers.ip(data, at + (data[at] + 3 & ~3), lengths)


FINDABLE: dict[int, tuple[str, Layer]] = {
    0: ("BSD loopback", layers.loopback),
    1: ("Ethernet", layers.ethernet),
    6: ("token ring", layers.token_ring),
    8: ("SLIP", behind(16, layers.ip)),
    9: ("PPP", layers.ppp),
    10: ("FDDI", layers.fddi),
    11: ("ATM RFC 2684", layers.llc),  # as some systems number it, as the next
    12: ("raw IP", layers.ip),
    14: ("raw IP", layers.ip),
    50: ("PPP with HDLC framing", layers.ppp),
    51: ("PPPoE", layers.pppoe),
    100: ("ATM RFC 2684", layers.llc),
    101: ("raw IP", layers.ip),
    104: ("Cisco HDLC", layers.chdlc),
    105: ("802.11", layers.wireless),
    106: ("Linux ATM", layers.classical_ip),
    107: ("frame relay", layers.frame_relay),
    108: ("OpenBSD loopback", layers.loopback),
    109: ("OpenBSD encapsulation", behind(12, layers.ip)),
    113: ("Linux cooked", layers.cooked),
    117: ("pflog", pflog),
    119: ("802.11 with a Prism header", layers.prism),
    122: ("IP over Fibre Channel", behind(16, layers.llc)),
    123: ("SunATM", behind(4, layers.llc)),
    127: ("802.11 with radiotap", layers.radiotap),
    138: ("Apple IP over FireWire", typed(16, 18)),
    163: ("802.11 with an AVS header", layers.avs),
    166: ("PPP of pppd", layers.ppp_pppd),
    192: ("PPI", per_packet),
    204: ("PPP with direction", layers.ppp_with_direction),
    205: ("Cisco HDLC with direction", behind(1, layers.chdlc)),
    206: ("frame relay with direction", behind(1, layers.frame_relay)),
    219: ("MPLS", layers.mpls),
    226: ("Solaris ipnet", behind(24, layers.ip)),
    228: ("raw IPv4", layers.ip),
    229: ("raw IPv6", layers.ip),
    239: ("NFLOG", layers.nflog),
    240: ("netANALYZER", behind(4, layers.ethernet)),
    241: ("netANALYZER, transparent", behind(12, layers.ethernet)),
    242: ("IP over InfiniBand", typed(40, 44)),
    258: ("pktap", pktap),
    259: ("EPON", behind(8, layers.ethernet)),
    276: ("Linux cooked v2", layers.cooked2),
    281: ("Broadcom switch tag", typed(16, 18)),
    282: ("Broadcom switch tag, prepended", behind(4, layers.ethernet)),
    284: ("Marvell DSA", typed(16, 18)),
    285: ("Marvell EDSA", typed(20, 22)),
}
"""Link types in which IP is found."""
OTHERS = {
    3: "AX.25", 7: "ARCNET", 99: "Symantec Firewall", 114: "LocalTalk", 116: "IP Filter",
    118: "Cisco IOS", 120: "Aironet", 129: "Linux ARCNET", 130: "Juniper MLPPP", 131: "Juniper MLFR",
    132: "Juniper ES", 133: "Juniper GGSN", 134: "Juniper MFR", 135: "Juniper ATM2", 136: "Juniper services",
    137: "Juniper ATM1", 139: "MTP2 with pseudo-header", 140: "MTP2", 141: "MTP3", 142: "SCCP", 143: "DOCSIS",
    144: "Linux IrDA", 145: "IBM SP", 146: "IBM SN", 147: "user 0", 148: "user 1", 149: "user 2", 150: "user 3",
    151: "user 4", 152: "user 5", 153: "user 6", 154: "user 7", 155: "user 8", 156: "user 9", 157: "user 10",
    158: "user 11", 159: "user 12", 160: "user 13", 161: "user 14", 162: "user 15", 164: "Juniper monitoring",
    165: "BACnet MS/TP", 167: "Juniper PPPoE", 168: "Juniper PPPoE over ATM", 169: "GPRS LLC", 170: "GPF-T",
    171: "GPF-F", 172: "Gcom T1/E1", 173: "Gcom serial", 174: "Juniper PIC peer", 175: "ERF Ethernet",
    176: "ERF PoS", 177: "Linux LAPD", 178: "Juniper Ethernet", 179: "Juniper PPP", 180: "Juniper frame relay",
    181: "Juniper Cisco HDLC", 182: "FRF.16 multilink", 183: "Juniper voice", 184: "FRF.16 multilink",
    185: "A653 ICM", 186: "USB", 187: "Bluetooth HCI", 188: "IEEE 802.16", 189: "USB", 190: "CAN",
    191: "802.15.4 of Linux", 193: "802.16 with radio", 194: "Juniper ISM", 195: "802.15.4", 196: "SITA",
    197: "ERF", 198: "RAIF1", 199: "IPMB", 200: "Juniper secure tunnel", 201: "Bluetooth HCI", 202: "AX.25 KISS",
    203: "LAPD", 207: "Juniper virtual peer", 208: "IPMB with direction", 209: "IPMB", 210: "FlexRay", 211: "MOST",
    212: "LIN", 213: "X2E serial", 214: "X2E Xoraya", 215: "802.15.4 with PHY", 216: "Linux input events",
    217: "GSMTAP Um", 218: "GSMTAP Abis", 220: "USB", 221: "NordicBLE", 222: "DECT", 223: "AOS",
    224: "Fibre Channel", 225: "Fibre Channel with SOF/EOF", 227: "CAN", 230: "802.15.4", 231: "D-Bus",
    232: "Juniper VS", 233: "Juniper SRX", 234: "Juniper fibre channel", 235: "DVB-CI", 236: "3GPP 27.010",
    237: "STANAG 5066", 238: "Juniper ATM CEMIC", 243: "MPEG-2 transport stream", 244: "ng4T", 245: "NFC LLCP",
    246: "pfsync", 247: "InfiniBand", 248: "SCTP", 249: "USB", 250: "RTAC serial", 251: "Bluetooth LE",
    252: "Wireshark upper PDU", 253: "netlink", 254: "Bluetooth monitor", 255: "Bluetooth baseband",
    256: "Bluetooth LE", 257: "PROFIBUS", 260: "IPMI", 261: "Z-Wave", 262: "Z-Wave", 263: "WattStopper",
    264: "ISO 14443", 265: "RDS", 266: "USB", 267: "OpenFlow", 268: "SDLC", 269: "TI LLN sniffer", 270: "LoRaTap",
    271: "vsock", 272: "Nordic Bluetooth LE", 273: "DOCSIS 3.1", 274: "Ethernet mPacket", 275: "DisplayPort AUX",
    277: "Sercos monitor", 278: "OpenVizsla", 279: "Elektrobit bus", 280: "VPP dispatch",
    283: "802.15.4 TAP", 286: "lawful intercept",
    287: "Z-Wave serial", 288: "USB", 289: "ATSC 3.0", 290: "Event Tracing for Windows", 291: "netANALYZER NG",
    292: "ZBOSS NCP", 293: "USB", 294: "USB", 295: "USB", 296: "Auerswald log", 297: "Z-Wave TAP",
    298: "Silicon Labs debug", 299: "UCI", 300: "MDB", 301: "DECT NR+",
}  # fmt: skip
"""Other link types, of which only the name is known."""
TYPES = {number: LinkType(number, name, layer) for number, (name, layer) in FINDABLE.items()}
TYPES |= {number: LinkType(number, name, None) for number, name in OTHERS.items()}
RAW_IP = TYPES[101]
ETHERNET = TYPES[1]


def link_type(number: int) -> LinkType:
    """The link type of this number."""
    return TYPES.get(number) or LinkType(number, f"unknown link type {number}", None)
