"""The IP packets of a capture."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import IO

from shaper.capture.frames import CaptureError, read_frames
from shaper.capture.link import LINKS
from shaper.wire.header import read_ip
from shaper.wire.packet import Packet

ARRIVED = "arrived"
"""The interface of a capture of shaper's own on which packets came; see `CaptureWriter`."""


def read_capture(path: Path) -> Iterator[Packet]:
    """The IP packets of a pcap or pcapng file, in its order.

    `arrived` is the capture time in ns since the epoch, `id` the frame's number. Frames
    that carry no IP, such as ARP, are left out; and of shaper's own captures, which have
    each packet as it came and as it went, those that went.

    Raises:
        CaptureError: not a capture, or, after all whole packets, damaged or cut off.
        OSError: the file can't be read.
    """
    with path.open("rb") as file:
        yield from read_packets(file, str(path))


def read_packets(file: IO[bytes], name: str) -> Iterator[Packet]:
    """The same from an open file; `name` is for the error."""
    own = False
    for number, (at, link, data, interface) in enumerate(read_frames(file, name), 1):
        own = own or (number == 1 and interface == ARRIVED)
        if own and interface != ARRIVED:
            continue
        strip = LINKS.get(link)
        if strip is None:
            raise CaptureError(
                f"{name}: frame {number} has link type {link}; "
                "known are Ethernet, raw IP, Linux cooked, and BSD loopback (try tcpdump -y)"
            )
        raw = strip(data)
        if not raw:
            continue
        ip = read_ip(raw)
        if ip.version:
            # Short Ethernet frames are padded behind the packet.
            yield Packet(raw[: ip.length], number, at)
