"""Where the bytes of a capture come from: a file or standard input, compressed or not; and files of other formats.

Sources: the magic numbers in file(1), and in the readers of Wireshark's wiretap.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import IO, Any, cast

from shaper.errors import ShaperError

STDIN = Path("-")
CHUNK = 1 << 18
"""How many bytes are read at a time."""
COMPRESSED: dict[bytes, Callable[[Any], Any]] = {
    b"\x1f\x8b": lambda file: gzip.GzipFile(fileobj=file),
    b"\xfd7zXZ\0": lzma.LZMAFile,
    b"BZh": bz2.BZ2File,
}
"""Magic number -> what opens a file that begins with it."""
ZSTD = b"\x28\xb5\x2f\xfd"
PACKED = {
    ZSTD: ("zstd", "zstd -dc"),
    b"\x04\x22\x4d\x18": ("lz4", "lz4 -dc"),
    b"\x1f\x9d": ("compress", "uncompress -c"),
    b"PK\x03\x04": ("zip", "unzip -p"),
}
"""Magic number -> a compression that needs its own program, and that program."""
STRANGERS = {
    b"snoop\0\0\0": "a snoop file (RFC 1761)",
    b"btsnoop\0": "a btsnoop file (Bluetooth)",
    b"RTSS": "a Network Monitor 1 file",
    b"GMBU": "a Network Monitor 2 file",
    b"TRSNIFF data": "a Sniffer file",
    b"XCP\0": "a Sniffer or NetXRay file for Windows",
    b"VL\0\0": "a NetXRay file",
    b"iptrace 1.0": "an AIX iptrace file",
    b"iptrace 2.0": "an AIX iptrace file",
    b"ObserverPktBuffe": "a Network Instruments Observer file",
    b"\x7fver": "an OmniPeek file",
    b"\x05VNF": "a Visual Networks file",
    b"TR\0d": "an HP-UX nettl file",
    b"\xaa\xaa\xaa\xaa": "a 5Views file",
    b"\0\0\2\0\x12\5\0\x10": "a K12 file",
    b"\x1c\0\1\xab": "an Ixia pcap file",
    b"\x1c\0\1\xac": "an Ixia pcap file",
    b"\xab\1\0\x1c": "an Ixia pcap file",
    b"\xac\1\0\x1c": "an Ixia pcap file",
    b"\xa1\xb2": "a pcap file of a patched libpcap",
}
"""How files of other formats begin, and what they are."""
FROM_1990, TO_2050 = 631_152_000, 2_524_608_000


class CaptureError(ShaperError):
    """A capture can't be read, or is cut off."""


class Cut(Exception):
    """The file ended inside a packet or block."""


class Source:
    """The bytes of a capture, unpacked. Only those that are looked at are in memory.

    Args:
        file: opened for reading bytes.
        name: its name, for errors.

    Attributes:
        name: as given.
        buffer: the bytes at hand.
        at: how many of them were used.

    Raises:
        CaptureError: it is compressed in a way that this Python can't unpack.
    """

    def __init__(self, file: IO[bytes], name: str) -> None:
        self.name = name
        self._read = cast(Callable[[int], bytes], getattr(file, "read1", file.read))
        self.buffer = b""
        self.at = 0
        self.has(16, is_soft=True)
        for magic, opened in COMPRESSED.items():
            if self.buffer.startswith(magic):
                self._unpack(opened)
        if self.buffer.startswith(ZSTD) and sys.version_info >= (3, 14):
            self._unpack(import_module("compression.zstd").ZstdFile)
        for magic, (compression, command) in PACKED.items():
            if self.buffer.startswith(magic):
                raise CaptureError(f"{name} is compressed with {compression}: try {command} {name} | shaper replay - …")

    @property
    def magic(self) -> bytes:
        """The first four bytes."""
        return self.buffer[:4]

    def has(self, size: int, *, is_soft: bool = False) -> bool:
        """Whether there are more bytes; if so, at least this many are at hand.

        Args:
            size: bytes.
            is_soft: fewer are as good.

        Raises:
            Cut: there are some, but fewer.
        """
        while len(self.buffer) - self.at < size:
            more = self._more()
            if not more:
                if is_soft or len(self.buffer) == self.at:
                    return len(self.buffer) > self.at
                raise Cut
            self.buffer = self.buffer[self.at :] + more
            self.at = 0
        return True

    def need(self, size: int) -> None:
        """Have at least this many bytes at hand.

        Raises:
            Cut: there are fewer.
        """
        if not self.has(size):
            raise Cut

    def take(self, size: int) -> bytes:
        """The next bytes, which then are used.

        Raises:
            Cut: there are fewer.
        """
        self.need(size)
        self.at += size
        return self.buffer[self.at - size : self.at]

    def stranger(self) -> CaptureError:
        """The error for a file that is no capture: what it is, where that is known."""
        start = self.buffer[:16]
        if not start:
            return CaptureError(f"{self.name} is empty")
        for magic, what in STRANGERS.items():
            if start.startswith(magic) or (len(magic) == 2 and start[2:4] == magic[::-1]):
                return self._convert(what)
        # ERF has no magic number: a time, a type, a length of the record.
        seconds, length = int.from_bytes(start[4:8], "little"), int.from_bytes(start[10:12])
        if len(start) == 16 and FROM_1990 < seconds < TO_2050 and 0 < start[8] & 0x7F < 28 and length >= 16:
            return self._convert("an ERF file")
        return CaptureError(f"{self.name} is neither a pcap nor a pcapng file")

    def _convert(self, what: str) -> CaptureError:
        return CaptureError(f"{self.name} is {what}, neither pcap nor pcapng: try editcap {self.name} out.pcapng")

    def _more(self) -> bytes:
        try:
            return self._read(CHUNK)
        except EOFError:
            raise Cut from None
        except (OSError, zlib.error, lzma.LZMAError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise ValueError(str(error)) from error

    def _unpack(self, opened: Callable[[Any], Any]) -> None:
        self._read = opened(_Rest(self.buffer, self._read)).read1
        self.buffer = b""
        try:
            self.has(16, is_soft=True)
        except (Cut, ValueError):
            raise CaptureError(f"{self.name} is cut off or damaged") from None


class _Rest:
    """A file to unpack: what was read of it already, then the rest."""

    def __init__(self, start: bytes, read: Callable[[int], bytes]) -> None:
        self._start = start
        self._more = read

    def read(self, size: int = -1) -> bytes:
        if self._start:
            size = len(self._start) if size < 0 else size
            start, self._start = self._start[:size], self._start[size:]
            return start
        return self._more(size)

    def seekable(self) -> bool:
        return False


@contextmanager
def open_capture(path: Path) -> Iterator[Source]:
    """A capture, opened for reading; `-` is standard input.

    Raises:
        CaptureError: see `Source`.
        OSError: the file can't be read.
    """
    if path == STDIN:
        yield Source(sys.stdin.buffer, "standard input")
        return
    with path.open("rb") as file:
        yield Source(file, str(path))
