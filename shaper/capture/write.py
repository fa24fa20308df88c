"""pcapng files with a comment on what happened to each packet, which Wireshark shows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from struct import Struct
from typing import Self

from shaper.capture.frames import Frame, Interface
from shaper.capture.link import ETHERNET, RAW_IP, LinkType, link_type
from shaper.core.verdict import Verdict
from shaper.wire.packet import Packet

LOOPBACK = link_type(0)
AF_INET, AF_INET6 = 2, 30  # Darwin's; the list of link types names 24, 28 and 30 for IPv6
SNAPLEN = 262144
INTERFACES = ("arrived", "sent", "dropped")
"""Packets as they came, those that went on, as they went on, and those that policies dropped."""
COMMENT, IF_NAME, IF_TSRESOL, IF_TSOFFSET, USERAPPL = 1, 2, 9, 14, 4
SECOND = 1_000_000_000
ERA = 18_000_000_000 * SECOND
"""570 years: a time stamp in ns has 64 bits. Times before 1970 or after 2540 need an offset."""
BUFFER = 1 << 18
REMEMBERED = 4096
"""How many ends of blocks are remembered, since most are the same as an earlier one."""
_lengths = Struct("<II").pack
_packet = Struct("<IIIIIII").pack
_word = Struct("<I").pack
_option = Struct("<HH").pack
_PADDING = (b"", b"\0\0\0", b"\0\0", b"\0")


class Pcapng:
    """A pcapng file that is written.

    Args:
        path: the file.

    Raises:
        OSError: it can't be written.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb", BUFFER)
        self._write = self._file.write
        self._interfaces = 0
        # Byte order, version 1.0, unknown length of the section.
        section = Struct("<IHHq").pack(0x1A2B3C4D, 1, 0, -1)
        self._block(0x0A0D0D0A, section + _options((USERAPPL, b"shaper")))

    def interface(self, link: LinkType, name: str, offset: int = 0) -> int:
        """Describe an interface; returns its number.

        Args:
            link: its link type.
            name: its name; empty for none.
            offset: seconds to add to its times.
        """
        options = [(IF_NAME, name.encode(errors="replace"))] if name else []
        options.append((IF_TSRESOL, b"\x09"))
        if offset:
            options.append((IF_TSOFFSET, Struct("<q").pack(offset)))
        self._block(1, Struct("<HHI").pack(link.number, 0, SNAPLEN) + _options(*options))
        self._interfaces += 1
        return self._interfaces - 1

    def packet(self, interface: int, at: int, data: bytes, length: int, end: bytes) -> None:
        """Write a packet.

        Args:
            interface: the number of its interface.
            at: its time, in ns.
            data: its bytes.
            length: how many it had before it was cut.
            end: of the block, see `end_of_block`.
        """
        size = len(data)
        self._write(_packet(6, 28 + size + len(end), interface, at >> 32, at & 0xFFFFFFFF, size, length) + data + end)

    def flush(self) -> None:
        """Write what is still in memory."""
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _block(self, kind: int, body: bytes) -> None:
        length = len(body) + 12
        self._write(_lengths(kind, length) + body + _word(length))


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
        # libpcap 1.10 refuses a file with several interfaces of raw IP: it maps 101 to 12 internally, and then sees a
        # second type. BSD's loopback has a header with the version of IP.
        self._link = RAW_IP if len(interfaces) == 1 else LOOPBACK
        self._offset = offset
        self._file = Pcapng(path)
        self._interfaces = {name: self._file.interface(self._link, name) for name in interfaces}

    def arrived(self, packet: Packet) -> None:
        """Write a packet that was taken, at its time of arrival."""
        self._write("arrived", packet, packet.arrived, "")

    def verdict(self, verdict: Verdict, at: int) -> None:
        """Write a packet that was sent or dropped, at this time (ns)."""
        name = "dropped" if verdict.fate == "dropped" else "sent"
        if name in self._interfaces:
            self._write(name, verdict.packet, at, comment(verdict))

    def flush(self) -> None:
        """Write what is still in memory."""
        self._file.flush()

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
        header = b"" if self._link is RAW_IP else _family(packet.raw)
        frame, length = header + packet.raw, len(header) + max(packet.length, len(packet.raw))
        self._file.packet(number, at + self._offset, frame, length, end_of_block(len(frame), text))


class FrameWriter:
    """Writes what is sent of a capture's packets, in the frames in which they came.

    There is one interface for each link type and name. A packet with other bytes gets the headers around it put right.
    A packet that a policy made goes out in the frame of the packet it was copied from, else in that of the packet
    before it; as raw IP, where there is none of its version.

    Args:
        path: the file.

    Raises:
        OSError: the file can't be written.
    """

    def __init__(self, path: Path) -> None:
        self._file = Pcapng(path)
        self._numbers: dict[tuple[int, str, int], int] = {}
        self._ends: dict[tuple[tuple[tuple[str, int], ...], int], bytes] = {}
        self._made = Interface(RAW_IP)
        # The interface of the last frame, its number, and the last packet that came in a frame.
        self._last: Interface | None = None
        self._number = 0
        self._before: Packet | None = None

    def verdict(self, verdict: Verdict, at: int) -> None:
        """Write a packet if it is sent, or a frame that passes, at this time (ns)."""
        packet = verdict.packet
        root = packet.origin or packet
        frame = root.frame
        if isinstance(frame, Frame) and packet is root:
            _, data, length, interface, _ = frame
            if packet.raw:
                self._before = root
        else:
            data, interface = self._around(packet, root)
            length = len(data)
            if isinstance(frame, Frame) and length == len(frame.data):
                length = frame.length  # more than that, if the capture cut the frame behind its packet
        if verdict.fate == "dropped":
            return
        if interface is not self._last:
            self._last, self._number = interface, self._find(interface, 0)
        number = self._number
        if not 0 <= at < ERA:
            era = at // ERA
            number, at = self._find(interface, era), at - era * ERA
        size = len(data)
        if packet is not root or root.cut_short or root.by:
            end = end_of_block(size, comment(verdict))
        elif (known := self._ends.get((root.noted, size))) is not None:
            end = known
        else:
            if len(self._ends) > REMEMBERED:
                self._ends.clear()
            end = self._ends[root.noted, size] = end_of_block(size, comment(verdict))
        self._file.packet(number, at, data, length, end)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _find(self, interface: Interface, era: int) -> int:
        """The number of an interface in the file, for times of this era."""
        # Several of raw IP, and libpcap would refuse the file: see `CaptureWriter`.
        name = interface.name if interface.link is not RAW_IP else ""
        key = (interface.link.number, name, era)
        if key not in self._numbers:
            self._numbers[key] = self._file.interface(interface.link, interface.name, era * ERA // SECOND)
        return self._numbers[key]

    def _around(self, packet: Packet, root: Packet) -> tuple[bytes, Interface]:
        """The frame of a packet that was rewritten or made, and where it goes."""
        origin = root.copy_of or root
        if isinstance(origin.frame, Frame):
            frame = origin.frame
            if packet.raw == origin.raw:
                return frame.data, frame.interface
            if packet.ip.version == origin.ip.version:
                data = frame.interface.link.around(frame.data, packet.raw, len(origin.raw))
                return data, frame.interface
        elif (before := self._before) is not None and before.ip.version == packet.ip.version:
            assert isinstance(before.frame, Frame)
            link, data = before.frame.interface.link, before.frame.data
            if link is ETHERNET and packet.ip.destination == before.ip.source:
                data = data[6:12] + data[:6] + data[12:]
            return link.around(data, packet.raw), before.frame.interface
        return packet.raw, self._made


def end_of_block(size: int, text: str) -> bytes:
    """What follows the bytes of a packet in its block: padding, a comment, and the length of the block once more.

    Args:
        size: how many bytes the packet has.
        text: the comment; empty for none.
    """
    end = _PADDING[size & 3] + (_options((COMMENT, text.encode(errors="replace"))) if text else b"")
    return end + _word(32 + size + len(end))


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
    return b"".join(_option(code, len(value)) + value + _PADDING[len(value) & 3] for code, value in options) + _option(
        0, 0
    )
