"""pcapng files with a comment on what happened to each packet, which Wireshark shows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from struct import Struct
from typing import Self

from shaper.core.verdict import Verdict
from shaper.wire.packet import Packet

RAW_IP, LOOPBACK = 101, 0
"""Link types. libpcap 1.10 refuses a file with several interfaces of raw IP: it maps 101 to 12 internally, and then
sees a second type. BSD's loopback has a header with the version of IP."""
AF_INET, AF_INET6 = 2, 30  # Darwin's; the list of link types names 24, 28 and 30 for IPv6
SNAPLEN = 262144
INTERFACES = ("arrived", "sent", "dropped")
"""Packets as they came, those that went on, as they went on, and those that policies dropped."""
COMMENT, IF_NAME, IF_TSRESOL, USERAPPL = 1, 2, 9, 4
_lengths = Struct("<II").pack
_packet = Struct("<IIIII").pack
_word = Struct("<I").pack
_option = Struct("<HH").pack


class CaptureWriter:
    """Writes packets as they came and as they went on, each at its time in ns.

    They are on different interfaces; packets of interfaces that are not asked for are left
    out. How long a packet was held is known only at its end, so the comment is on the
    sent or dropped packet.

    Args:
        path: the file.
        interfaces: some of `INTERFACES`.
        offset: ns to add to all times, to turn monotonic times into times of day.

    Raises:
        OSError: the file can't be written.
    """

    def __init__(self, path: Path, *, interfaces: Sequence[str] = INTERFACES, offset: int = 0) -> None:
        self._interfaces = {name: number for number, name in enumerate(interfaces)}
        self._link = RAW_IP if len(interfaces) == 1 else LOOPBACK
        self._offset = offset
        self._file = path.open("wb")
        # Byte order, version 1.0, unknown length of the section.
        section = Struct("<IHHq").pack(0x1A2B3C4D, 1, 0, -1)
        self._block(0x0A0D0D0A, section + _options((USERAPPL, b"shaper")))
        for name in interfaces:
            description = Struct("<HHI").pack(self._link, 0, SNAPLEN)
            self._block(1, description + _options((IF_NAME, name.encode()), (IF_TSRESOL, b"\x09")))

    def arrived(self, packet: Packet) -> None:
        """Write a packet that was taken, at its time of arrival."""
        self._write("arrived", packet, packet.arrived, "")

    def verdict(self, verdict: Verdict, at: int) -> None:
        """Write a packet that was sent or dropped, at this time (ns)."""
        self._write("dropped" if verdict.fate == "dropped" else "sent", verdict.packet, at, comment(verdict))

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _write(self, interface: str, packet: Packet, at: int, text: str) -> None:
        number = self._interfaces.get(interface)
        if number is None:
            return
        at += self._offset
        header = b"" if self._link == RAW_IP else _family(packet.raw)
        frame, length = header + packet.raw, len(header) + max(packet.length, len(packet.raw))
        head = _packet(number, at >> 32 & 0xFFFFFFFF, at & 0xFFFFFFFF, len(frame), length)
        self._block(6, head + _padded(frame) + (_options((COMMENT, text.encode(errors="replace"))) if text else b""))

    def _block(self, kind: int, body: bytes) -> None:
        length = len(body) + 12
        self._file.write(_lengths(kind, length) + body + _word(length))


def comment(verdict: Verdict) -> str:
    """What happened to a packet: "held 20.013 ms by delay, 5 ms by spread_burst"."""
    root = verdict.packet.root
    parts = []
    if verdict.fate == "injected":
        parts.append(f"injected by {root.by}")
    if held := [f"{ns / 1e6:.6f}".rstrip("0").rstrip(".") + f" ms by {policy}" for policy, ns in root.hold_times if ns]:
        parts.append("held " + ", ".join(held))
    if root.cut_short:
        parts.append("cut short")
    if verdict.rewritten:
        parts.append("rewritten")
    if verdict.fate == "dropped":
        parts.append(f"dropped by {root.by}")
    return "; ".join(parts)


def _family(raw: bytes) -> bytes:
    """The link-layer header of an IP packet on BSD's loopback."""
    return _word(AF_INET6 if raw[:1] >= b"\x60" else AF_INET)


def _options(*options: tuple[int, bytes]) -> bytes:
    return b"".join(_option(code, len(value)) + _padded(value) for code, value in options) + _option(0, 0)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
