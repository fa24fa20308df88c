"""Rows: packets that came one after another, looked at by column instead of one by one.

The messages of one batch lie in memory at equal distances. So one slice, in steps of that distance, has the same byte
of each of them: a column. To compare it with what is expected takes a nanosecond a message; to unpack a message, and
to make a packet of it, takes half a microsecond. That is worth it where most packets come in many at once, and no
policy wants any of them, or it holds all alike.

Mostly even more is the same in all: they have one length, and came by one interface from one sender. Then columns of
up to eight bytes are compared, each with itself, one message further on.

If not all messages are alike, they are looked at in groups. A column is then a large number, and so is a group: it has
the byte 255 for each of its messages.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct, unpack
from typing import Final, Literal, NamedTuple

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
# More than these bytes is constant where all packets are of one sender, and equally long; a flow label isn't looked at.
CONSTANT: Final = {4: ((0, 4), (6, 10)), 6: ((0, 1), (4, 8))}

FORMATS: Final[dict[int, Literal["Q", "I", "H", "B"]]] = {8: "Q", 4: "I", 2: "H", 1: "B"}
"""Numbers of so many bytes, as `memoryview.cast` has them."""

_id: Final = Struct(">I").unpack_from
_stamp: Final = Struct(">QQ").unpack_from


Column = tuple[memoryview, int, int]
"""Something of each message, as numbers: where the first one is among these, and the distance of two."""


class Group(NamedTuple):
    """Messages that are alike: with the same layout, about packets with the same version of IP and protocol."""

    messages: int
    layout: Layout
    key: bytes  # the flow key of the first one's packet
    is_one_flow: bool
    length: int = 0  # of each message, in bytes; 0 if they may differ


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

    def ids(self) -> Sequence[int]:
        """Their numbers."""
        first: int = _id(self._datagrams.slots[0], self._group(0).layout.id_at)[0]
        if self.last_id - first == self.count - 1:
            return range(first, self.last_id + 1)
        slots = self._datagrams.slots[: self.count]
        return [_id(slot, self._group(nth).layout.id_at)[0] for nth, slot in enumerate(slots)]

    def stamps(self) -> list[int]:
        """When each arrived, in ns of the wall clock."""
        first, *others = self._groups
        at = first.layout.stamp_at
        if others or not are_constant(columns_in(self._datagrams, at, at + 8), self.count):
            return [self.stamped(nth) for nth in range(self.count)]
        base = self.stamped(0) // 1_000_000_000 * 1_000_000_000
        # The lower half of the microseconds, in the network's byte order.
        numbers, start, step = columns_in(self._datagrams, at + 12, at + 16)[0]
        column = numbers[start : start + self.count * step : step].tobytes()
        return [base + microseconds * 1000 for microseconds in unpack(f">{self.count}I", column)]

    def raws(self) -> list[bytes]:
        """What was copied of each packet."""
        datagrams, count = self._datagrams, self.count
        first, *others = self._groups
        if first.length and not others:
            at = first.layout.payload
            each = Struct(f"{at}x{first.length - at}s{datagrams.room - first.length}x")
            return [raw for (raw,) in each.iter_unpack(memoryview(datagrams.memory)[: count * datagrams.room])]
        slots, lengths = datagrams.slots, datagrams.lengths(count)
        return [bytes(slots[nth][self._group(nth).layout.payload : lengths[nth]]) for nth in range(count)]


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
        found = self._first(0)
        if found is None:
            return None
        columns, key = found
        group = columns.constant(count, key) or columns.whole(count, key)
        groups = [group] if group is not None else self._groups(count)
        return Row(count, groups, self._datagrams) if groups else None

    def _groups(self, count: int) -> list[Group]:
        """All the messages in groups; none if they are too mixed, or not all are about plain packets with a stamp."""
        groups: list[Group] = []
        others = ones(count)  # the messages that aren't in a group yet
        while others:
            nth = lowest(others)
            found = self._first(nth)
            if found is None or len(groups) == MOST_GROUPS:
                return []
            columns, key = found
            group = columns.part(nth, key, count, others)
            others &= ~group.messages
            groups.append(group)
        return groups

    def _first(self, nth: int) -> tuple[Columns, bytes] | None:
        """The columns of one of the messages, and its packet's flow key; None if it isn't plain, or has no stamp."""
        message = self._datagrams.slots[nth]
        layout = self._layouts.of(message)
        key = plain_key(bytes(message[layout.payload : min(layout.payload + LONGEST_KEY, self._datagrams.length(nth))]))
        if not key or not layout.stamped:
            return None
        return self._columns_of(layout, 4 if len(key) == V4_KEY else 6), key

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
        spans = [
            *layout.constant,
            *((layout.payload + begin, layout.payload + end) for begin, end in CONSTANT[version]),
        ]
        self._constant = [datagrams.length_column]
        self._constant += [column for span in spans for column in columns_in(datagrams, *span)]
        self._constant_key = columns_in(datagrams, first, self._least)

    def constant(self, count: int, key: bytes) -> Group | None:
        """All messages as a group; None if not even the rest of what the kernel says is the same in all.

        Args:
            count: how many.
            key: the flow key of the first one's packet.
        """
        if not are_constant(self._constant, count):
            return None
        is_one_flow = are_constant(self._constant_key, count)
        return Group(ones(count), self._layout, key, is_one_flow, self._datagrams.length(0))

    def whole(self, count: int, key: bytes) -> Group | None:
        """All messages as a group; None if not all are like the first one. See `constant`."""
        # What an earlier message left behind a short one is no part of it.
        if min(self._datagrams.lengths(count)) < self._least:
            return None
        first = self._datagrams.slots[0]
        for place in self._fixed:
            if self._column(place, count) != bytes(first[place : place + 1]) * count:
                return None
        is_one_flow = True
        for place in self._key:
            if self._column(place, count) != bytes(first[place : place + 1]) * count:
                is_one_flow = False
                break
        return Group(ones(count), self._layout, key, is_one_flow)

    def part(self, nth: int, key: bytes, count: int, among: int) -> Group:
        """Those of some messages that are like one of them, whose packet has this flow key."""
        first, lengths = self._datagrams.slots[nth], self._datagrams.lengths(count)
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


def columns_in(datagrams: Datagrams, begin: int, end: int) -> list[Column]:
    """The bytes from `begin` to before `end` of each message, in as few columns as possible."""
    columns = []
    while begin < end:
        size = next(size for size in FORMATS if begin + size <= end)
        # Numbers lie where their size allows it, counted from the place of the first one.
        shift, memory = begin % size, memoryview(datagrams.memory)
        numbers = memory[shift : len(memory) - (size - shift) % size].cast(FORMATS[size])
        columns.append((numbers, begin // size, datagrams.room // size))
        begin += size
    return columns


def are_constant(columns: list[Column], count: int) -> bool:
    """Whether the first messages, so many, have the same in each of these columns."""
    for numbers, start, step in columns:
        last = start + (count - 1) * step
        if numbers[start:last:step] != numbers[start + step : last + step : step]:
            return False
    return True


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
