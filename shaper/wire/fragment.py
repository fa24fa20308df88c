"""Fragments: a packet that is too large for a link, in pieces.

Sources: RFC 791, section 3.2 (fragmentation of IPv4); RFC 8200, section 4.5 (of IPv6).
"""

from __future__ import annotations

from shaper.wire.checksum import checksum
from shaper.wire.header import DESTINATION, FRAGMENT, HOP_BY_HOP, ROUTING

MORE_V4, OFFSET_V4 = 0x2000, 0x1FFF
DONT = 0x4000
COPIED = 0x80
"""The bit of an IPv4 option's type that says: it is in every fragment."""


def fragments(raw: bytes, mtu: int, identification: int) -> list[bytes]:
    """The packet in fragments of at most this many bytes; the packet alone if it is not longer.

    A packet that may not be fragmented (IPv4's DF) is fragmented too. One that is a fragment already is cut into
    smaller ones of the same datagram.

    Args:
        raw: an IP packet.
        mtu: in bytes; at least 68 for IPv4 (RFC 791), and 1280 for IPv6.
        identification: of the datagram, not 0; IPv4 takes its lower 16 bits.
    """
    if len(raw) <= mtu:
        return [raw]
    return _fragments_v4(raw, mtu, identification) if raw[0] >> 4 == 4 else _fragments_v6(raw, mtu, identification)


def _fragments_v4(raw: bytes, mtu: int, identification: int) -> list[bytes]:
    end = (raw[0] & 15) * 4
    field = int.from_bytes(raw[6:8])
    offset, more = field & OFFSET_V4, bool(field & MORE_V4)
    if offset or more:
        identification = int.from_bytes(raw[4:6])
    options = raw[20:end]
    found = []
    for at, piece, is_last in _pieces(raw[end:], mtu - end):
        if at:
            options = _copied(raw[20:end])
        header = bytearray(raw[:20]) + options
        header[0] = 0x40 | len(header) // 4
        header[2:4] = (len(header) + len(piece)).to_bytes(2)
        header[4:6] = (identification & 0xFFFF).to_bytes(2)
        header[6:8] = (offset + at // 8 | (0 if is_last and not more else MORE_V4)).to_bytes(2)
        header[10:12] = bytes(2)
        header[10:12] = checksum(bytes(header)).to_bytes(2)
        found.append(bytes(header) + piece)
    return found


def _copied(options: bytes) -> bytes:
    """The IPv4 options that all fragments have, padded."""
    kept, at = b"", 0
    while at < len(options) and options[at]:
        length = 1 if options[at] == 1 else max(2, int.from_bytes(options[at + 1 : at + 2]))
        if options[at] & COPIED:
            kept += options[at : at + length]
        at += length
    return kept + bytes(-len(kept) % 4)


def _fragments_v6(raw: bytes, mtu: int, identification: int) -> list[bytes]:
    names, end = _unfragmentable(raw)
    following, offset, more = raw[names], 0, False
    rest = raw[end:]
    if following == FRAGMENT and len(rest) >= 8:
        following, field = rest[0], int.from_bytes(rest[2:4])
        offset, more, identification = field >> 3, bool(field & 1), int.from_bytes(rest[4:8])
        rest = rest[8:]
    before = bytearray(raw[:end])
    before[names] = FRAGMENT
    found = []
    for at, piece, is_last in _pieces(rest, mtu - end - 8):
        before[4:6] = (end - 40 + 8 + len(piece)).to_bytes(2)
        field = (offset + at // 8) << 3 | (not is_last or more)
        found.append(bytes(before) + bytes((following, 0)) + field.to_bytes(2) + identification.to_bytes(4) + piece)
    return found


def _unfragmentable(raw: bytes) -> tuple[int, int]:
    """Where the number of the first fragmentable header is, and where that header begins.

    Before it are the headers for every router on the way: hop-by-hop options, and routing with the destination
    options that stand before it.
    """
    names, end = 6, 40
    at_name, at = names, end
    while raw[at_name] in (HOP_BY_HOP, ROUTING, DESTINATION) and at + 8 <= len(raw):
        kind = raw[at_name]
        at_name, at = at, at + (raw[at + 1] + 1) * 8
        if kind != DESTINATION:
            names, end = at_name, at
    return names, end


def _pieces(content: bytes, room: int) -> list[tuple[int, bytes, bool]]:
    """The content in pieces of at most this many bytes, all but the last of a multiple of 8: offset, piece, last."""
    step = max(8, room - room % 8)
    return [(at, content[at : at + step], at + step >= len(content)) for at in range(0, len(content), step)]
