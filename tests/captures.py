"""Captures and packets for tests, made by hand."""

import struct
from collections.abc import Iterable
from pathlib import Path

from shaper.capture.frames import Frame, read_frames
from shaper.capture.source import open_capture

UDP = bytes.fromhex("4500001e00010000401100007f0000017f00000100010002000a00006162")
UDP6 = bytes.fromhex("60000000000a1140" + "00" * 15 + "01" + "00" * 15 + "01" + "00010002000a00006162")
EPOCH = 1_700_000_000_123_456_789


def udp_from(port: int) -> bytes:
    return UDP[:20] + struct.pack("!H", port) + UDP[22:]


def pcap(frames: Iterable[tuple[int, bytes]], link: int = 101, order: str = "<", nano: bool = True) -> bytes:
    """A pcap file of these frames, each with its time in ns."""
    unit = 1 if nano else 1000
    magic = 0xA1B23C4D if nano else 0xA1B2C3D4
    parts = [struct.pack(order + "IHHIIII", magic, 2, 4, 0, 0, 262144, link)]
    for at, data in frames:
        seconds, ns = divmod(at, 10**9)
        parts += struct.pack(order + "IIII", seconds, ns // unit, len(data), len(data)), data
    return b"".join(parts)


def frames(path: Path) -> list[Frame]:
    """All frames of a capture."""
    with open_capture(path) as source:
        return list(read_frames(source))


def ip_of(frame: Frame) -> bytes:
    """The IP packet in a frame; empty if there is none."""
    start = frame.interface.link.find(frame.data)
    return frame.data[start:] if isinstance(start, int) else b""
