"""Rows: packets that came one after another, looked at by column instead of one by one.

The messages of one batch lie in memory at equal distances. So one slice, in steps of that distance, has the same byte
of each of them: a column. To compare it with what is expected takes a nanosecond a message; to unpack a message, and
to make a packet of it, takes half a microsecond. That is worth it where most packets come in many at once, and no
policy wants any of them.

If not all messages are alike, they are looked at in groups. A column is then a large number, and so is a group: it has
the byte 255 for each of its messages.
"""

from __future__ import annotations

from struct import Struct
from typing import Final, NamedTuple

from shaper.linux.recvmmsg import Datagrams
from shaper.live.nfqueue.layout import Layout, Layouts
from shaper.live.nfqueue.netlink import ATTRIBUTE
from shaper.wire.header import plain_key

LONGEST_KEY: Final = 44
"""Bytes of a packet that `plain_key` looks at."""
V4_KEY: Final = 13
"""Bytes of a flow key of IPv4."""
MOST_GROUPS: Final = 4
"""Of how many groups of messages a row consists, at most; with more, looking at columns saves nothing."""
MAX_COLUMNS: Final = 32
"""For how many layouts the columns are remembered, each with either version of IP."""

# Of IPv4 and IPv6: the bytes that are the same in all packets that have their ports right behind a header without
# options, and the part of the flow key behind its first byte, the protocol.
SAME: Final = {4: (0, 6, 7, 9), 6: (0, 6)}
KEY: Final = {4: (12, 24), 6: (8, 44)}

_id: Final = Struct(">I").unpack_from
_stamp: Final = Struct(">QQ").unpack_from


class Group(NamedTuple):
    """Messages that are alike: with the same layout, about packets with the same version of IP and protocol."""

    messages: int
    layout: Layout
    key: bytes  # the flow key of the first one's packet
    is_one_flow: bool


class Row:
    """Packets that came one after another, all of them plain: whole, and with their ports right behind the IP header.

    It can be read until the next packets are.

    Attributes:
        count: how many.
        flows: the flow key of the first, and of how many in a row from there on; and so on.
        last_id: the number of the last one.
    """

    def __init__(self, count: int, groups: list[Group], datagrams: Datagrams) -> None:
        self.count = count
        self._groups = groups
        self._datagrams = datagrams
        self.flows = self._flows()
        self.last_id: int = _id(datagrams.slots[count - 1], self._group(count - 1).layout.id_at)[0]

    def _flows(self) -> list[tuple[bytes, int]]:
        key = self._groups[0].key
        for group in self._groups:
            if not group.is_one_flow or group.key != key:
                return [(self._key(nth), 1) for nth in range(self.count)]
        return [(key, self.count)]

    def _key(self, nth: int) -> bytes:
        group = self._group(nth)
        first, last = KEY[4 if len(group.key) == V4_KEY else 6]
        at = group.layout.payload
        return group.key[:1] + bytes(self._datagrams.slots[nth][at + first : at + last])

    def _group(self, nth: int) -> Group:
        """The one that a message belongs to."""
        for group in self._groups[:-1]:
            if group.messages >> 8 * nth & 1:
                return group
        return self._groups[-1]

    def stamped(self, nth: int) -> int:
        """When one of them arrived, in ns of the wall clock."""
        seconds: int
        microseconds: int
        seconds, microseconds = _stamp(self._datagrams.slots[nth], self._group(nth).layout.stamp_at)
        return seconds * 1_000_000_000 + microseconds * 1000

    def raws(self) -> list[bytes]:
        """What was copied of each packet."""
        slots, lengths = self._datagrams.slots, self._datagrams.lengths(self.count)
        return [bytes(slots[nth][self._group(nth).layout.payload : lengths[nth]]) for nth in range(self.count)]


class Rows:
    """Finds rows among the messages that were taken last.

    Args:
        datagrams: these.
        layouts: those known so far.
    """

    def __init__(self, datagrams: Datagrams, layouts: Layouts) -> None:
        self._datagrams = datagrams
        self._layouts = layouts
        self._columns: dict[tuple[int, tuple[int, ...]], Columns] = {}

    def row(self, count: int) -> Row | None:
        """All the messages, so many, as a row; None if not all are about plain packets with a stamp, or too mixed."""
        slots, lengths = self._datagrams.slots, self._datagrams.lengths(count)
        groups: list[Group] = []
        everything = others = ones(count)  # the messages that aren't in a group yet
        while others:
            nth = lowest(others)
            first, length = slots[nth], lengths[nth]
            layout = self._layouts.of(first)
            key = plain_key(bytes(first[layout.payload : min(layout.payload + LONGEST_KEY, length)]))
            if not key or not layout.stamped or len(groups) == MOST_GROUPS:
                return None
            columns = self._columns_of(layout, 4 if len(key) == V4_KEY else 6)
            group = columns.whole(first, key, lengths) if others == everything else None
            if group is None:
                group = columns.part(first, key, lengths, others)
            others &= ~group.messages
            groups.append(group)
        return Row(count, groups, self._datagrams)

    def _columns_of(self, layout: Layout, version: int) -> Columns:
        named = (version, layout.expected)
        columns = self._columns.get(named)
        if columns is None:
            if len(self._columns) >= MAX_COLUMNS:
                self._columns.clear()
            columns = self._columns[named] = Columns(self._datagrams, layout, version)
        return columns


class Columns:
    """The columns of one layout, for one version of IP."""

    def __init__(self, datagrams: Datagrams, layout: Layout, version: int) -> None:
        self._datagrams = datagrams
        self._layout = layout
        self._fixed = [place + nth for place, word in layout.words for nth in telling(word)]
        self._fixed += [layout.payload + place for place in SAME[version]]
        first, self._least = (layout.payload + place for place in KEY[version])
        self._key = range(first, self._least)

    def whole(self, first: memoryview, key: bytes, lengths: list[int]) -> Group | None:
        """All messages as a group; None if not all are like the first one.

        Args:
            first: see above.
            key: the flow key of its packet.
            lengths: those of all messages. What an earlier message left behind a short one is no part of it.
        """
        count = len(lengths)
        if min(lengths) < self._least:
            return None
        for place in self._fixed:
            if self._column(place, count) != bytes(first[place : place + 1]) * count:
                return None
        is_one_flow = True
        for place in self._key:
            if self._column(place, count) != bytes(first[place : place + 1]) * count:
                is_one_flow = False
                break
        return Group(ones(count), self._layout, key, is_one_flow)

    def part(self, first: memoryview, key: bytes, lengths: list[int], among: int) -> Group:
        """Those of some messages that are like the first of these; see `whole`."""
        count = len(lengths)
        if min(lengths) < self._least:
            among &= int.from_bytes(bytes([255 * (length >= self._least) for length in lengths]), "little")
        for place in self._fixed:
            differing = self._differing(place, first, count) & among
            if differing:
                among &= ~spread(differing, count)
        is_one_flow = True
        for place in self._key:
            if self._differing(place, first, count) & among:
                is_one_flow = False
                break
        return Group(among, self._layout, key, is_one_flow)

    def _column(self, place: int, count: int) -> bytearray:
        room = self._datagrams.room
        return self._datagrams.memory[place : count * room : room]

    def _differing(self, place: int, first: memoryview, count: int) -> int:
        """How the bytes of a column differ from that of the first message."""
        expected = bytes(first[place : place + 1]) * count
        return int.from_bytes(self._column(place, count), "little") ^ int.from_bytes(expected, "little")


def telling(word: bytes) -> list[int]:
    """Which bytes of one of `Layout.words` tell it from all others.

    The types of attributes are below 256, and so are the lengths of nearly all: of these, only the bytes that aren't 0
    can differ.
    """
    is_short_head = len(word) == ATTRIBUTE.size and ATTRIBUTE.unpack(word)[0] < 256
    return [nth for nth, byte in enumerate(word) if byte or not is_short_head]


def ones(count: int) -> int:
    """A number of so many bytes 255."""
    return (1 << 8 * count) - 1


def lowest(number: int) -> int:
    """The place of the lowest byte that isn't 0."""
    return ((number & -number).bit_length() - 1) // 8


def spread(number: int, count: int) -> int:
    """255 in place of each of so many bytes that isn't 0."""
    most = int.from_bytes(b"\x7f" * count, "little")
    # With most, no byte's sum is carried to the next one; its highest bit is set if the byte had any of the lower ones.
    highest = ((number & most) + most | number) & ~most
    return (highest >> 7) * 255
