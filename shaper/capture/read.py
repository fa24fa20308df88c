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
"""The interface of shaper's own captures that has the packets as they came; see `CaptureWriter`."""


def read_capture(path: Path) -> Iterator[Packet]:
    """The IP packets of a pcap or pcapng file, in its order.

    `arrived` is the capture time in ns since the epoch, `id` the number of the frame. Frames
    without IP, such as ARP, are left out. shaper's own captures have each packet as it came
    and as it went on; only the packets as they came are read.

    Raises:
        CaptureError: it is not a capture; or, after all complete packets, it is damaged or cut off.
        OSError: the file can't be read.
    """
    with path.open("rb") as file:
        yield from read_packets(file, str(path))


def read_packets(file: IO[bytes], name: str) -> Iterator[Packet]:
    """As `read_capture`, from an open file; `name` is for errors."""
    own = False
    for number, (at, link, data, interface) in enumerate(read_frames(file, name), 1):
        own = own or (number == 1 and interface == ARRIVED)
        if own and interface != ARRIVED:
            continue
        strip = LINKS.get(link)
        if strip is None:
            raise CaptureError(
                f"{name}: frame {number} has link type {link}; "
                "shaper reads Ethernet, raw IP, Linux cooked and BSD loopback (see tcpdump -y)"
            )
        raw = strip(data)
        if not raw:
            continue
        ip = read_ip(raw)
        if ip.version:
            # Short Ethernet frames have padding after the packet.
            yield Packet(raw[: ip.length], number, at)
