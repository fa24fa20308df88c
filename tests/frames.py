"""The frames of a capture, read by other code than shaper's, to compare what goes in with what comes out.

Sources: draft-ietf-opsawg-pcap, draft-ietf-opsawg-pcapng; sf-pcap.c of libpcap for what old files have.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import subprocess
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from struct import Struct, error
from typing import IO, NamedTuple, cast

COMPRESSED = {b"\x1f\x8b": "gzip", b"\xfd7zXZ\x00": "xz", b"BZh": "bzip2", b"\x28\xb5\x2f\xfd": "zstd"}
PCAP = {0xA1B2C3D4: (1000, 0), 0xA1B23C4D: (1, 0), 0xA1B2CD34: (1000, 8)}
"""Magic number -> the ns that a unit of a timestamp's fraction has, and the bytes that a frame's header has more. The
last is that of Kuznetzov's patched libpcap."""
SECTION, INTERFACE, OLD, SIMPLE, PACKET = 0x0A0D0D0A, 1, 2, 3, 6
TSRESOL, TSOFFSET = 9, 14


class Frame(NamedTuple):
    """One frame.

    Attributes:
        at: in ns since the epoch, rounded down; None if the file doesn't say.
        link: its link type.
        length: how many bytes it had on the wire.
        data: those that were captured.
    """

    at: int | None
    link: int
    length: int
    data: bytes


class Reading:
    """The frames of a file; after them, `damaged` says whether the file ends before it should."""

    def __init__(self, path: Path) -> None:
        self.damaged = False
        self._path = path

    def __iter__(self) -> Iterator[Frame]:
        with opened(self._path) as file:
            try:
                yield from _frames(file)
            except (Damaged, error, IndexError, EOFError, OSError, lzma.LZMAError):
                self.damaged = True


class Damaged(Exception):
    """The file is cut off or no capture."""


def is_capture(path: Path) -> bool:
    """Whether the file begins as a pcap or pcapng file does, compressed or not."""
    try:
        with opened(path) as file:
            return _magic(file.read(4)) is not None
    except (OSError, EOFError, lzma.LZMAError):
        return False


def opened(path: Path) -> IO[bytes]:
    """The file, unpacked if it is compressed.

    Raises:
        OSError: it can't be read, or there is no zstd here.
    """
    file = path.open("rb")
    start = file.read(6)
    file.seek(0)
    kind = next((kind for magic, kind in COMPRESSED.items() if start.startswith(magic)), None)
    if kind == "gzip":
        return cast(IO[bytes], gzip.open(file))
    if kind == "xz":
        return cast(IO[bytes], lzma.open(file))
    if kind == "bzip2":
        return cast(IO[bytes], bz2.open(file))
    if kind == "zstd":
        with file:
            return BytesIO(subprocess.run(["zstd", "-dc"], stdin=file, capture_output=True, check=False).stdout)
    return file


def _magic(start: bytes) -> tuple[str, int] | None:
    """The byte order and the magic number of a file that begins with these four bytes; None if it is no capture."""
    for order in "<>":
        if len(start) == 4 and ((number := Struct(order + "I").unpack(start)[0]) in PCAP or number == SECTION):
            return order, number
    return None


def _read(file: IO[bytes], size: int) -> bytes:
    data = file.read(size) if size < 1 << 28 else b""
    if len(data) < size:
        raise Damaged
    return data


def _frames(file: IO[bytes]) -> Iterator[Frame]:
    found = _magic(file.read(4))
    if found is None:
        raise Damaged
    order, number = found
    yield from _pcapng(file) if number == SECTION else _pcap(file, order, *PCAP[number])


def _pcap(file: IO[bytes], order: str, unit: int, more: int) -> Iterator[Frame]:
    _, minor, _, _, _, link = Struct(order + "HHiIII").unpack(_read(file, 20))
    while header := file.read(16):
        seconds, fraction, captured, length = Struct(order + "IIII").unpack(header)
        if minor < 3 or (minor == 3 and captured > length):
            captured, length = length, captured
        _read(file, more)
        yield Frame(seconds * 10**9 + fraction * unit, link & 0xFFFF, length, _read(file, captured))


def _pcapng(file: IO[bytes]) -> Iterator[Frame]:
    order, interfaces = "", list[tuple[int, int, int, int]]()
    kind: int | None = SECTION
    while kind is not None:
        if kind == SECTION:
            size, mark = _read(file, 4), _read(file, 4)
            if mark not in (b"\x4d\x3c\x2b\x1a", b"\x1a\x2b\x3c\x4d"):
                raise Damaged
            order, interfaces = "<" if mark[0] == 0x4D else ">", []
            _read(file, Struct(order + "I").unpack(size)[0] - 12)
        else:
            size = Struct(order + "I").unpack(_read(file, 4))[0]
            block = _read(file, size - 8 + -size % 4) if size >= 12 else _read(file, 1 << 30)
            if kind == INTERFACE:
                interfaces.append(_interface(block[:-4], order))
            elif (frame := _frame(kind, block[:-4], order, interfaces)) is not None:
                yield frame
        start = file.read(4)
        kind = Struct((order if start != b"\x0a\x0d\x0d\x0a" else "<") + "I").unpack(start)[0] if start else None


def _interface(block: bytes, order: str) -> tuple[int, int, int, int]:
    """Link type, snap length, units of time in a second, seconds to add."""
    link, _, snap = Struct(order + "HHI").unpack_from(block)
    ticks, offset, at = 10**6, 0, 8
    while at + 4 <= len(block):
        code, size = Struct(order + "HH").unpack_from(block, at)
        value = block[at + 4 : at + 4 + size]
        if code == TSRESOL:
            ticks = 1 << (value[0] & 127) if value[0] & 128 else 10 ** value[0]
        elif code == TSOFFSET:
            offset = Struct(order + "q").unpack(value)[0]
        elif code == 0:
            break
        at += 4 + size + -size % 4
    return link, snap, ticks, offset


def _frame(kind: int, block: bytes, order: str, interfaces: list[tuple[int, int, int, int]]) -> Frame | None:
    if kind == SIMPLE:
        link, snap, _, _ = interfaces[0]
        length = Struct(order + "I").unpack_from(block)[0]
        captured = min(length, snap or length, len(block) - 4)
        return Frame(None, link, length, block[4 : 4 + captured])
    if kind not in (OLD, PACKET):
        return None
    if kind == OLD:
        index, _, high, low, captured, length = Struct(order + "HHIIII").unpack_from(block)
    else:
        index, high, low, captured, length = Struct(order + "IIIII").unpack_from(block)
    link, _, ticks, offset = interfaces[index]
    if captured > len(block) - 20:
        raise Damaged
    at = (high << 32 | low) * 10**9 // ticks + offset * 10**9
    return Frame(at, link, length, block[20 : 20 + captured])
