"""The frames of a pcap or pcapng file.

Sources: draft-ietf-opsawg-pcap (pcap), draft-ietf-opsawg-pcapng (pcapng).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from struct import Struct
from typing import IO, NamedTuple

from shaper.errors import ShaperError

PCAP = {
    b"\xd4\xc3\xb2\xa1": ("<", 1000), b"\xa1\xb2\xc3\xd4": (">", 1000),
    b"\x4d\x3c\xb2\xa1": ("<", 1), b"\xa1\xb2\x3c\x4d": (">", 1),
}  # fmt: skip
"""Magic number -> byte order, and how many ns a unit of a timestamp's fraction has."""
SECTION = b"\x0a\x0d\x0d\x0a"
BYTE_ORDER = {b"\x4d\x3c\x2b\x1a": "<", b"\x1a\x2b\x3c\x4d": ">"}
INTERFACE, OLD_PACKET, SIMPLE_PACKET, PACKET = 1, 2, 3, 6
END, NAME, TSRESOL, TSOFFSET = 0, 2, 9, 14
LONGEST = 1 << 26
"""Bytes; a file with a longer block or packet is damaged."""


class CaptureError(ShaperError):
    """A capture can't be read, or is cut off."""


class Frame(NamedTuple):
    """One captured frame.

    Attributes:
        at: when it was captured, in ns since the epoch.
        link: the link type of its interface (LINKTYPE_ numbers).
        data: its bytes, from the link-layer header on.
        interface: the name of its interface; empty if the file doesn't have it.
    """

    at: int
    link: int
    data: bytes
    interface: str = ""


class Interface(NamedTuple):
    """An interface of a pcapng section.

    Attributes:
        link: its link type.
        ticks: how many units of its timestamps a second has.
        offset: seconds to add to its timestamps.
        name: its name; empty if the file doesn't have it.
    """

    link: int
    ticks: int
    offset: int
    name: str

    def frame(self, high: int, low: int, data: bytes) -> Frame:
        """A frame of this interface, from the two halves of its timestamp and its bytes."""
        at = (high << 32 | low) * 1_000_000_000 // self.ticks + self.offset * 1_000_000_000
        return Frame(at, self.link, data, self.name)


class Cut(Exception):
    """The file ended inside a packet or block."""


def read_frames(file: IO[bytes], name: str) -> Iterator[Frame]:
    """All complete frames of a file, in its order.

    Args:
        file: pcap or pcapng, opened for reading bytes.
        name: its name, for errors.

    Raises:
        CaptureError: it is not a capture; or, after all complete frames, it is damaged or cut off.
    """
    magic = file.read(4)
    if magic not in PCAP and magic != SECTION:
        raise CaptureError(f"{name} is neither a pcap nor a pcapng file")
    count = 0
    try:
        for frame in _pcap(file, *PCAP[magic]) if magic in PCAP else _pcapng(file):
            count += 1
            yield frame
    except Cut:
        raise CaptureError(f"{name} is cut off after frame {count}; only the frames up to there were used") from None
    except (struct.error, ValueError, IndexError) as error:
        raise CaptureError(f"{name} is damaged after frame {count}: {error}") from error


def _read(file: IO[bytes], length: int) -> bytes:
    if length > LONGEST:
        raise ValueError(f"a length of {length} bytes")
    data = file.read(length)
    if len(data) < length:
        raise Cut
    return data


def _pcap(file: IO[bytes], order: str, unit: int) -> Iterator[Frame]:
    # The upper 16 of the link type's 32 bits are about the frame check sequence.
    link = Struct(order + "HHIIII").unpack(_read(file, 20))[-1] & 0xFFFF
    record = Struct(order + "IIII")
    while header := file.read(record.size):
        if len(header) < record.size:
            raise Cut
        seconds, fraction, captured, _ = record.unpack(header)
        yield Frame(seconds * 1_000_000_000 + fraction * unit, link, _read(file, captured))


def _pcapng(file: IO[bytes]) -> Iterator[Frame]:
    order = _section(file)
    interfaces: list[Interface] = []
    while kind := file.read(4):
        if len(kind) < 4:
            raise Cut
        if kind == SECTION:
            order, interfaces = _section(file), []
            continue
        block = _block(file, order, Struct(order + "I").unpack(_read(file, 4))[0] - 12)
        (number,) = Struct(order + "I").unpack(kind)
        if number == INTERFACE:
            interfaces.append(_interface(block, order))
        elif number == PACKET:
            index, high, low, captured, _ = Struct(order + "IIIII").unpack_from(block)
            yield interfaces[index].frame(high, low, block[20 : 20 + captured])
        elif number == OLD_PACKET:
            index, _, high, low, captured, _ = Struct(order + "HHIIII").unpack_from(block)
            yield interfaces[index].frame(high, low, block[20 : 20 + captured])
        elif number == SIMPLE_PACKET:
            raise ValueError("a simple packet block, which has no time")


def _section(file: IO[bytes]) -> str:
    """The byte order of a section whose block type has been read."""
    length, magic = _read(file, 4), _read(file, 4)
    if magic not in BYTE_ORDER:
        raise ValueError("a section header without a byte order")
    order = BYTE_ORDER[magic]
    _block(file, order, Struct(order + "I").unpack(length)[0] - 16)
    return order


def _block(file: IO[bytes], order: str, length: int) -> bytes:
    """The rest of a block of this length (bytes), without the length field at its end."""
    if length < 0:
        raise ValueError("a block shorter than its own header")
    body = _read(file, length + -length % 4)
    _read(file, 4)
    return body


def _interface(block: bytes, order: str) -> Interface:
    link, _, _ = Struct(order + "HHI").unpack_from(block)
    ticks, offset, name, at = 1_000_000, 0, "", 8
    option = Struct(order + "HH")
    while at + 4 <= len(block):
        code, length = option.unpack_from(block, at)
        value = block[at + 4 : at + 4 + length]
        if code == END:
            break
        if code == NAME:
            name = value.decode(errors="replace").rstrip("\0")
        elif code == TSRESOL:
            ticks = 2 ** (value[0] & 127) if value[0] & 128 else 10 ** value[0]
        elif code == TSOFFSET:
            (offset,) = Struct(order + "q").unpack(value)
        at += 4 + length + -length % 4
    return Interface(link, ticks, offset, name)
