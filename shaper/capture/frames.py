"""The frames of a pcap or pcapng file.

Sources: draft-ietf-opsawg-pcap (pcap), draft-ietf-opsawg-pcapng (pcapng), libpcap's savefile.c for older and patched
pcap files.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from struct import Struct
from typing import Final, NamedTuple

from shaper.capture.link import LinkType, link_type
from shaper.capture.source import CaptureError, Cut, Source

PCAP = {
    b"\xa1\xb2\xc3\xd4": (1000, 16),
    b"\xa1\xb2\x3c\x4d": (1, 16),
    b"\xa1\xb2\xcd\x34": (1000, 24),  # Kuznetzov's patch: an interface, a protocol and a packet type in each header
}
"""Magic number, as a big-endian machine writes it -> how many ns a unit of a timestamp's fraction has, and how many
bytes the header of a packet has."""
SECTION = b"\x0a\x0d\x0d\x0a"
BYTE_ORDER = {b"\x4d\x3c\x2b\x1a": "<", b"\x1a\x2b\x3c\x4d": ">"}
INTERFACE, OLD_PACKET, SIMPLE_PACKET, PACKET = 1, 2, 3, 6
END, NAME, TSRESOL, TSOFFSET = 0, 2, 9, 14
LONGEST = 1 << 26
"""Bytes; a file with a longer block or packet is damaged."""
SECOND = 1_000_000_000

_new: Final = tuple.__new__


class Interface:
    """What frames were captured on: a pcap file is one, a pcapng section has any number.

    Attributes:
        link: its link type.
        name: its name; empty if the file doesn't have it.
        snap: how many bytes of a frame were captured at most; 0 for no limit.
        ticks: how many units of its timestamps a second has.
        offset: seconds to add to its timestamps.
    """

    __slots__ = ("link", "name", "offset", "snap", "ticks")

    def __init__(self, link: LinkType, name: str = "", snap: int = 0, ticks: int = SECOND, offset: int = 0) -> None:
        self.link = link
        self.name = name
        self.snap = snap
        self.ticks = ticks
        self.offset = offset

    def time(self, stamp: int) -> int:
        """A time stamp of this interface, as ns since the epoch."""
        return stamp * SECOND // self.ticks + self.offset * SECOND


class Frame(NamedTuple):
    """One captured frame.

    Attributes:
        at: when it was captured, in ns since the epoch.
        data: its bytes, from the link-layer header on, as far as they were captured.
        length: how many bytes it had.
        interface: where it was captured.
        number: its place in the file, from 1.
    """

    at: int
    data: bytes
    length: int
    interface: Interface
    number: int = 0


def read_frames(source: Source) -> Iterator[Frame]:
    """All complete frames of a file, in its order.

    A simple packet block has no time: it gets that of the frame before it.

    Raises:
        CaptureError: it is not a capture; or, after all complete frames, it is damaged or cut off.
    """
    magic = source.magic
    count = 0
    try:
        if magic == SECTION:
            frames = _pcapng(source)
        elif magic in PCAP:
            frames = _pcap(source, ">", *PCAP[magic])
        elif magic[::-1] in PCAP:
            frames = _pcap(source, "<", *PCAP[magic[::-1]])
        else:
            raise source.stranger()
        for frame in frames:
            count = frame.number
            yield frame
    except Cut:
        raise CaptureError(
            f"{source.name} is cut off after frame {count}; only the frames up to there were used"
        ) from None
    except (struct.error, ValueError, IndexError) as error:
        what = {
            struct.error: "a block is too short for its fields",
            IndexError: "a packet of an interface that isn't described",
        }.get(type(error), str(error))
        raise CaptureError(
            f"{source.name} is damaged after frame {count}: {what}; only the frames up to there were used"
        ) from error


def _pcap(source: Source, order: str, unit: int, size: int) -> Iterator[Frame]:
    major, minor, _, _, snap, link = Struct(order + "4xHHIIII").unpack(source.take(24))
    # The upper 16 of the link type's 32 bits are about the frame check sequence.
    interface = Interface(link_type(link & 0xFFFF), snap=snap)
    # Before version 2.4, some programs wrote the two lengths in the other order.
    is_old = (major, minor) < (2, 4)
    header = Struct(order + "IIII").unpack_from
    number = 0
    while source.has(size):
        buffer, at = source.buffer, source.at
        last = len(buffer) - size
        while at <= last:
            seconds, fraction, captured, length = header(buffer, at)
            if is_old and captured > length:
                captured, length = length, captured
            end = at + size + captured
            if end > len(buffer):
                _check(captured)
                break
            number += 1
            # Frame(…), but without a call in Python.
            yield _new(Frame, (seconds * SECOND + fraction * unit, buffer[at + size : end], length, interface, number))
            at = end
        source.at = at
        if at <= last:
            source.need(size + captured)


def _pcapng(source: Source) -> Iterator[Frame]:
    order, interfaces = "", list[Interface]()
    head, packet = Struct("").unpack_from, Struct("").unpack_from
    number = now = 0
    while source.has(8):
        if source.buffer.startswith(SECTION, source.at):
            source.need(12)
            order = _byte_order(source.buffer[source.at + 8 : source.at + 12])
            head, packet = Struct(order + "II").unpack_from, Struct(order + "IIIII").unpack_from
            interfaces = []
        kind, length = head(source.buffer, source.at)
        if length < 12:
            raise ValueError(f"a block of {length} bytes")
        _check(length)
        source.need(length + -length % 4)
        # A step of its own for each block: they may be of any kind. The block ends with its length once more.
        at, buffer = source.at + 8, source.buffer
        end = source.at + length - 4
        source.at += length + -length % 4
        if kind == PACKET:
            index, high, low, captured, size = packet(buffer, at)
        elif kind == INTERFACE:
            interfaces.append(_interface(buffer[at:end], order))
            continue
        elif kind == OLD_PACKET:
            index, _, high, low, captured, size = Struct(order + "HHIIII").unpack_from(buffer, at)
        elif kind == SIMPLE_PACKET:
            (size,) = Struct(order + "I").unpack_from(buffer, at)
            captured = min(size, interfaces[0].snap or size)
            number += 1
            yield Frame(now, buffer[at + 4 : min(at + 4 + captured, end)], size, interfaces[0], number)
            continue
        else:
            continue
        interface = interfaces[index]
        now = interface.time(high << 32 | low)
        number += 1
        yield _new(Frame, (now, buffer[at + 20 : min(at + 20 + captured, end)], size, interface, number))


def _byte_order(magic: bytes) -> str:
    if magic not in BYTE_ORDER:
        raise ValueError("a section header without a byte order")
    return BYTE_ORDER[magic]


def _check(length: int) -> None:
    if length > LONGEST:
        raise ValueError(f"a length of {length} bytes")


def _interface(block: bytes, order: str) -> Interface:
    link, _, snap = Struct(order + "HHI").unpack_from(block)
    made = Interface(link_type(link), snap=snap, ticks=1_000_000)
    at = 8
    option = Struct(order + "HH")
    while at + 4 <= len(block):
        code, length = option.unpack_from(block, at)
        value = block[at + 4 : at + 4 + length]
        if code == END:
            break
        if code == NAME:
            made.name = value.decode(errors="replace").rstrip("\0")
        elif code == TSRESOL:
            (resolution,) = Struct("B").unpack(value)
            made.ticks = 2 ** (resolution & 127) if resolution & 128 else 10**resolution
        elif code == TSOFFSET:
            (made.offset,) = Struct(order + "q").unpack(value)
        at += 4 + length + -length % 4
    return made
