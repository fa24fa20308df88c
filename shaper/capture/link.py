"""Link-layer headers: the bytes before the IP packet in a captured frame.

Source: the LINKTYPE_ list of tcpdump.org; IEEE 802.1Q and 802.1ad for VLAN tags.
"""

from __future__ import annotations

from collections.abc import Callable

IPV4, IPV6 = b"\x08\x00", b"\x86\xdd"
VLAN_TAGS = (b"\x81\x00", b"\x88\xa8", b"\x91\x00")


def _behind(frame: bytes, at: int, header: int) -> bytes | None:
    """The bytes after a header of this length whose EtherType is at `at`; None if they are not IP."""
    kind = frame[at : at + 2]
    while kind in VLAN_TAGS:
        kind = frame[header + 2 : header + 4]
        header += 4
    return frame[header:] if kind in (IPV4, IPV6) else None


LINKS: dict[int, Callable[[bytes], bytes | None]] = {
    0: lambda frame: frame[4:],  # BSD loopback: the address family
    1: lambda frame: _behind(frame, 12, 14),  # Ethernet
    12: lambda frame: frame,  # raw IP, as some systems number it
    14: lambda frame: frame,
    101: lambda frame: frame,  # raw IP
    108: lambda frame: frame[4:],  # OpenBSD loopback
    113: lambda frame: _behind(frame, 14, 16),  # Linux cooked
    228: lambda frame: frame,  # raw IPv4
    229: lambda frame: frame,  # raw IPv6
    276: lambda frame: _behind(frame, 0, 20),  # Linux cooked v2
}
"""Link type -> a function from a frame to its IP packet, or to None if it has none."""
