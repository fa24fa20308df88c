"""Where the parts of the kernel's message about a packet are.

Such a message is a sequence of attributes; which ones there are depends on the hook, the interface and the packet: see
nfqnl_build_packet_message() in net/netfilter/nfnetlink_queue.c. To walk through them in Python would cost more than
all else that is done to take a packet. But successive messages are alike: a `Layout` learnt from one message reads
the next ones by two calls of struct. The first call checks that every attribute up to the payload, which is the last,
is where it was.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from struct import Struct
from typing import Any, NamedTuple

from shaper.live.nfqueue.netlink import ATTRIBUTE, HEADERS, NFNL_SUBSYS_QUEUE, NFQA_PAYLOAD

NFQNL_MSG_PACKET = NFNL_SUBSYS_QUEUE << 8
NFQA_PACKET_HDR, NFQA_TIMESTAMP = 1, 4

_header = Struct("=IH")  # the message's length and type
_head = Struct("=I")  # of an attribute: length and type in one number
_type = Struct("=4xH").unpack_from

Read = Callable[[memoryview], tuple[Any, ...]]

MAX_LAYOUTS = 16
"""How many layouts are remembered; the packets of one hook have few."""
MAX_LENGTHS = 1024
"""For how many lengths of messages a layout remembers how to read them; most packets have few lengths."""


class Layout(NamedTuple):
    """Where the parts of a message about a packet are.

    Attributes:
        heads: reads the message's type and the heads of its attributes.
        expected: what `heads` returns for a message of this layout.
        values: the format of the packet's id and, if `stamped`, seconds and microseconds of its arrival (realtime).
        stamped: the kernel has stamped the packet.
        payload: where the packet begins.
        reads: for each length of a message, what reads it.
        id_at, stamp_at: where the packet's id and its stamp begin.
        constant: where the rest is, up to the payload: from where to where, in bytes. Messages of one length that are
            the same there have this layout.
        is_packet: the message is about a packet; some are not.
    """

    heads: Callable[[memoryview], tuple[int, ...]]
    expected: tuple[int, ...]
    values: str
    stamped: bool
    payload: int
    reads: dict[int, Read]
    id_at: int = 0
    stamp_at: int = 0
    constant: tuple[tuple[int, int], ...] = ()
    is_packet: bool = True

    def read(self, length: int) -> Read:
        """What reads the values of a message of this length and, after them, the packet."""
        if len(self.reads) >= MAX_LENGTHS:
            self.reads.clear()
        read = Struct(f"{self.values}{max(length - self.payload, 0)}s").unpack_from
        self.reads[length] = read
        return read


NO_PACKET = Layout(_type, (), "", False, 0, {}, is_packet=False)
"""Stands for messages that no layout can be learnt from; no message matches it."""


def learn(message: memoryview) -> Layout:
    """The layout of a message; `NO_PACKET` if it is about no packet."""
    length, kind = _header.unpack_from(message)
    if kind != NFQNL_MSG_PACKET:
        return NO_PACKET
    heads, expected = "=4xH14x", [kind]
    values, read, stamped = ">", 0, False
    id_at = stamp_at = 0
    at = HEADERS
    while at < length:
        size, attribute = ATTRIBUTE.unpack_from(message, at)
        content = at + ATTRIBUTE.size
        if attribute == NFQA_PAYLOAD:
            # The packet's length is its own, so of this head only the type counts.
            expected.append(attribute)
            values += f"{content - read}x"
            unpack = Struct(heads + "2xH").unpack_from
            own = [(id_at, id_at + 4), *([(stamp_at, stamp_at + 16)] if stamped else [])]
            constant = tuple(between([(0, 4), (8, HEADERS), *own], content))
            return Layout(unpack, tuple(expected), values, stamped, content, {}, id_at, stamp_at, constant)
        if attribute == NFQA_PACKET_HDR:
            values += f"{content - read}xI"
            read, id_at = content + 4, content
        elif attribute == NFQA_TIMESTAMP:
            values += f"{content - read}xQQ"
            read, stamped, stamp_at = content + 16, True, content
        expected += _head.unpack_from(message, at)
        padded = max(size, ATTRIBUTE.size) + 3 & ~3
        heads += f"I{padded - _head.size}x"
        at += padded
    return NO_PACKET


def between(spans: list[tuple[int, int]], end: int) -> list[tuple[int, int]]:
    """What is between these spans, in their order, and between the last one and the end."""
    return [(after, before) for (_, after), (before, _) in pairwise([*spans, (end, end)]) if after < before]


class Layouts:
    """The layouts of the messages so far."""

    def __init__(self) -> None:
        self._known: list[Layout] = []

    def of(self, message: memoryview) -> Layout:
        """The layout of this message."""
        for layout in self._known:
            if layout.heads(message) == layout.expected:
                return layout
        layout = learn(message)
        if len(self._known) < MAX_LAYOUTS and layout.is_packet:
            self._known.append(layout)
        return layout
