"""The packets of a capture, and its frames without IP, which pass."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from shaper.capture.filter import matching
from shaper.capture.frames import Interface, read_frames
from shaper.capture.source import open_capture
from shaper.core.verdict import Verdict
from shaper.wire.packet import Packet

ARRIVED = "arrived"
"""The interface of shaper's own captures that has the packets as they came; see `CaptureWriter`."""


class Capture:
    """A pcap or pcapng file. Iterating over it gives its frames, in its order.

    A frame with an IP packet gives that packet. `arrived` is the capture time in ns since the epoch, `id` the number of
    the frame, `frame` the frame itself. Padding and check sequences behind the packet aren't part of it. A frame
    without IP gives a verdict, *passed*.

    shaper's own captures have each packet as it came and as it went on; only the packets as they came are read.

    Args:
        path: the file; `-` for standard input. It may be compressed, see `open_capture`.
        expression: see pcap-filter(7); use only packets that match it. It sees the IP packets.

    Attributes:
        passed: how many frames had no IP packet, by what they had.
        left_out: how many frames were not used, by the reason.
        went_back: how many frames have an earlier time than the frame before them.
        furthest: by how much at most, in ns.

    Raises:
        CaptureError: when iterated over: it is not a capture; or, after all complete frames, it is damaged or cut off.
        UsageError: when iterated over: the expression is not valid.
        ShaperError: when iterated over: there is an expression, and tcpdump is missing.
        OSError: when iterated over: the file can't be read.
    """

    def __init__(self, path: Path, expression: str | None = None) -> None:
        self._path = path
        self._expression = expression
        self.passed: Counter[str] = Counter()
        self.left_out: Counter[str] = Counter()
        self.went_back = 0
        self.furthest = 0

    def __iter__(self) -> Iterator[Packet | Verdict]:
        if self._expression is None:
            return self._frames()
        return matching(self._frames(), self._expression, str(self._path), self.left_out)

    def _frames(self) -> Iterator[Packet | Verdict]:
        before: int | None = None
        own = False
        last: Interface | None = None
        with open_capture(self._path) as source:
            for frame in read_frames(source):
                at, data, _, interface, number = frame
                if interface is not last:
                    own = own or (last is None and interface.name == ARRIVED)
                    last, find = interface, interface.link.find
                if own and interface.name != ARRIVED:
                    self.left_out["not as they came"] += 1
                    continue
                if before is not None and at < before:
                    self.went_back += 1
                    self.furthest = max(self.furthest, before - at)
                before = at
                start = find(data)
                if type(start) is str:
                    self.passed[start] += 1
                    packet = Packet(b"", 0, at)
                    packet.frame = frame
                    yield Verdict(packet, "passed", at)
                    continue
                assert type(start) is int
                if data[start] >> 4 == 4:
                    size = data[start + 2] << 8 | data[start + 3]
                else:
                    size = 40 + (data[start + 4] << 8 | data[start + 5])
                    if size == 40:
                        size = 0
                # Without a length, the packet takes all the rest: it is longer than the field can say, or damaged.
                packet = Packet(data[start : start + size] if size >= 20 else data[start:], number, at)
                packet.frame = frame
                yield packet


def read_capture(path: Path) -> Iterator[Packet]:
    """The IP packets of a capture; see `Capture`."""
    return (packet for packet in Capture(path) if isinstance(packet, Packet))
