"""Where the parts of the kernel's message about a packet stand.

Such a message is a row of attributes, and which ones there are depends on the hook, the
interface and the packet: nfqnl_build_packet_message() in net/netfilter/nfnetlink_queue.c.
To walk them in Python would cost more than all else that is done to take a packet, but
neighbours look alike: a `Layout` learnt from one message reads another by two calls of
struct, the first of which shows that every attribute up to the payload, the last, is where it was.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from typing import Any, NamedTuple

from shaper.live.nfqueue.netlink import ATTRIBUTE, HEADERS, NFNL_SUBSYS_QUEUE, NFQA_PAYLOAD

NFQNL_MSG_PACKET = NFNL_SUBSYS_QUEUE << 8
NFQA_PACKET_HDR, NFQA_TIMESTAMP = 1, 4

_header = Struct("=IH")  # the message's length and type
_head = Struct("=I")  # of an attribute: length and type in one number
_type = Struct("=4xH").unpack_from

Read = Callable[[memoryview], tuple[Any, ...]]

MOST = 16
"""Layouts remembered; the packets of one hook have few."""
LENGTHS = 1024
"""Lengths of messages of which a layout remembers how they are read; most packets have few."""


class Layout(NamedTuple):
    """Where things are in a message about a packet.

    Attributes:
        heads: reads the message's type and the heads of its attributes.
        expected: what that gives for a message of this layout.
        values: the format of the packet's id and, where `stamped`, seconds and microseconds of its arrival (realtime).
        stamped: the kernel has stamped the packet.
        payload: where the packet begins.
        reads: what reads a message, by its length.
        is_packet: the message is about a packet; some are not.
    """

    heads: Callable[[memoryview], tuple[int, ...]]
    expected: tuple[int, ...]
    values: str
    stamped: bool
    payload: int
    reads: dict[int, Read]
    is_packet: bool = True

    def read(self, length: int) -> Read:
        """What reads the values of a message of this length, and after them the packet."""
        if len(self.reads) >= LENGTHS:
            self.reads.clear()
        read = Struct(f"{self.values}{max(length - self.payload, 0)}s").unpack_from
        self.reads[length] = read
        return read


NO_PACKET = Layout(_type, (), "", False, 0, {}, False)
"""Stands for what no layout can be learnt from; no message has it."""


def learn(message: memoryview) -> Layout:
    """The layout of a message."""
    length, kind = _header.unpack_from(message)
    if kind != NFQNL_MSG_PACKET:
        return NO_PACKET
    heads, expected = "=4xH14x", [kind]
    values, read, stamped = ">", 0, False
    at = HEADERS
    while at < length:
        size, attribute = ATTRIBUTE.unpack_from(message, at)
        content = at + ATTRIBUTE.size
        if attribute == NFQA_PAYLOAD:
            # The packet's length is its own, so of this head only the type counts.
            expected.append(attribute)
            values += f"{content - read}x"
            return Layout(Struct(heads + "2xH").unpack_from, tuple(expected), values, stamped, content, {})
        if attribute == NFQA_PACKET_HDR:
            values += f"{content - read}xI"
            read = content + 4
        elif attribute == NFQA_TIMESTAMP:
            values += f"{content - read}xQQ"
            read, stamped = content + 16, True
        expected += _head.unpack_from(message, at)
        padded = max(size, ATTRIBUTE.size) + 3 & ~3
        heads += f"I{padded - _head.size}x"
        at += padded
    return NO_PACKET


class Layouts:
    """The layouts that messages had so far."""

    def __init__(self) -> None:
        self._known: list[Layout] = []

    def of(self, message: memoryview) -> Layout:
        """The layout of this message."""
        for layout in self._known:
            if layout.heads(message) == layout.expected:
                return layout
        layout = learn(message)
        if len(self._known) < MOST and layout.is_packet:
            self._known.append(layout)
        return layout
