"""Rows: packets that came one after another, looked at by column instead of one by one.

To unpack a message, and to make a packet of it, takes half a microsecond. But where many packets come at once, most are
alike: those of one length came by one interface, from one sender, and what the kernel says about them is the same, but
for their number and their time. They lie in memory at equal distances, so one slice, in steps of that distance, has the
same bytes of each: a column. If such a column equals itself, one message further on, it is the same in all.

Messages of different lengths are looked at apart. Of what a sender hands over in one piece, the first packet says more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from struct import Struct, unpack
from typing import Final, NamedTuple, TypeVar

from shaper.linux.recvmmsg import Datagrams
from shaper.live.nfqueue.layout import Layout, Layouts
from shaper.wire.header import plain_key

LONGEST_KEY: Final = 44
"""Bytes of a packet that `plain_key` looks at."""
V4_KEY: Final = 13
"""Bytes of a flow key of IPv4."""
HEAD: Final = 256
"""Bytes of a message that are looked at, at most; a multiple of 8."""
MOST_GROUPS: Final = 6
"""How many lengths the messages of a row have, at most; with more, looking at columns saves nothing."""
MAX_LAYOUTS: Final = 32
"""For how many layouts the columns are remembered, each with either version of IP."""

# Of IPv4 and IPv6: what is the same in packets of one length that have their ports right behind a header without
# options, and came from one sender; and the part of the flow key behind its first byte, the protocol.
SAME: Final = {4: ((0, 4), (6, 10)), 6: ((0, 1), (4, 8))}
KEY: Final = {4: (12, 24), 6: (8, 44)}

_id: Final = Struct(">I").unpack_from
_stamp: Final = Struct(">QQ").unpack_from
T = TypeVar("T")

Column = tuple[int, int, int]
"""Bytes of each message, as a number: which of `Table.views` has it, at which place, and its size in bytes."""


class Table:
    """Messages that lie in memory at equal distances.

    Args:
        memory: where they are.
        step: the distance, in bytes: a multiple of 8.
    """

    def __init__(self, memory: memoryview, step: int) -> None:
        self.memory = memory
        self.step = step
        # Numbers of eight bytes lie where their size allows it, counted from the beginning or from the fourth byte.
        self.views = (memory, memory.cast("H"), memory.cast("I"), memory.cast("Q"), memory[4:-4].cast("Q"))

    def column(self, begin: int, end: int, count: int) -> bytes:
        """The bytes from `begin` to before `end` of each of the first messages, so many; these must be one column."""
        view, start, size = columns_in(begin, end)[0]
        step = self.step // size
        return self.views[view][start : start + count * step : step].tobytes()

    def is_constant(self, columns: Sequence[Column], count: int) -> bool:
        """Whether the first messages, so many, have the same in each of these columns."""
        for view, start, size in columns:
            numbers, step = self.views[view], self.step // size
            last = start + (count - 1) * step
            if numbers[start:last:step] != numbers[start + step : last + step : step]:
                return False
        return True


def columns_in(begin: int, end: int) -> list[Column]:
    """The bytes from `begin` to before `end` of each message, in as few columns as possible."""
    columns: list[Column] = []
    while begin < end:
        if begin % 4 == 0 and end - begin >= 8:
            view, start, size = (3, begin // 8, 8) if begin % 8 == 0 else (4, (begin - 4) // 8, 8)
        elif begin % 4 == 0 and end - begin >= 4:
            view, start, size = 2, begin // 4, 4
        elif begin % 2 == 0 and end - begin >= 2:
            view, start, size = 1, begin // 2, 2
        else:
            view, start, size = 0, begin, 1
        columns.append((view, start, size))
        begin += size
    return columns


class Kind(NamedTuple):
    """Of one layout and version of IP, the columns of what is the same in messages that are alike, and of the key."""

    same: Sequence[Column]
    key: Sequence[Column]


class Group:
    """Messages of one length, of one layout, about packets with the same version of IP and protocol.

    Attributes:
        layout: see above.
        key: the flow key of the first one's packet.
        is_one_flow: all packets have it.
    """

    def __init__(self, table: Table, count: int, layout: Layout, key: bytes, *, is_one_flow: bool) -> None:
        self.layout = layout
        self.key = key
        self.is_one_flow = is_one_flow
        self._table = table
        self._count = count

    def ids(self) -> Sequence[int]:
        """Their numbers."""
        return unpack(f">{self._count}I", self._table.column(self.layout.id_at, self.layout.id_at + 4, self._count))

    def stamps(self) -> Sequence[int]:
        """When each arrived, in ns of the wall clock."""
        count, at = self._count, self.layout.stamp_at
        columns = self._table.column(at, at + 8, count), self._table.column(at + 8, at + 16, count)
        seconds, microseconds = (unpack(f">{count}Q", column) for column in columns)
        return [whole * 1_000_000_000 + part * 1000 for whole, part in zip(seconds, microseconds, strict=True)]


class Row:
    """Packets that came one after another, all of them plain: whole, and with their ports right behind the IP header.

    It can be read until the next packets are.

    Args:
        datagrams: the messages.
        lengths: of each, in bytes.
        groups: by length.

    Attributes:
        count: how many.
        flows: the flow key of the first, and of how many in a row from there on; and so on.
        last_id: the number of the last one.
    """

    def __init__(self, datagrams: Datagrams, lengths: list[int], groups: dict[int, Group]) -> None:
        self.count = len(lengths)
        self._datagrams = datagrams
        self._lengths = lengths
        self._groups = groups
        self.flows = self._flows()
        self.last_id: int = _id(datagrams.slots[self.count - 1], groups[lengths[-1]].layout.id_at)[0]

    def _flows(self) -> list[tuple[bytes, int]]:
        key = self._groups[self._lengths[0]].key
        for group in self._groups.values():
            if not group.is_one_flow or group.key != key:
                keys = [self._key(nth) for nth in range(self.count)]
                return [(key, len(list(run))) for key, run in groupby(keys)]
        return [(key, self.count)]

    def _key(self, nth: int) -> bytes:
        group = self._groups[self._lengths[nth]]
        first, last = KEY[4 if len(group.key) == V4_KEY else 6]
        at = group.layout.payload
        return group.key[:1] + bytes(self._datagrams.slots[nth][at + first : at + last])

    def stamped(self, nth: int) -> int:
        """When one of them arrived, in ns of the wall clock."""
        seconds: int
        microseconds: int
        at = self._groups[self._lengths[nth]].layout.stamp_at
        seconds, microseconds = _stamp(self._datagrams.slots[nth], at)
        return seconds * 1_000_000_000 + microseconds * 1000

    def stamps(self) -> Sequence[int]:
        """When each arrived, in ns of the wall clock."""
        return self._in_order(Group.stamps)

    def ids(self) -> Sequence[int]:
        """Their numbers."""
        first: int = _id(self._datagrams.slots[0], self._groups[self._lengths[0]].layout.id_at)[0]
        if self.last_id - first == self.count - 1:
            return range(first, self.last_id + 1)
        return self._in_order(Group.ids)

    def _in_order(self, values: Callable[[Group], Sequence[T]]) -> Sequence[T]:
        """What each group says of its messages, in the order of the messages."""
        if len(self._groups) == 1:
            return values(self._groups[self._lengths[0]])
        left = {length: iter(values(group)) for length, group in self._groups.items()}
        return [next(left[length]) for length in self._lengths]

    def raws(self) -> list[bytes]:
        """What was copied of each packet."""
        at = {length: group.layout.payload for length, group in self._groups.items()}
        slots = self._datagrams.slots[: self.count]
        return [bytes(slot[at[length] : length]) for slot, length in zip(slots, self._lengths, strict=True)]


class Rows:
    """Finds rows among the messages that were taken last.

    Args:
        datagrams: these.
        layouts: those known so far.
    """

    def __init__(self, datagrams: Datagrams, layouts: Layouts) -> None:
        self._datagrams = datagrams
        self._layouts = layouts
        self._table = Table(memoryview(datagrams.memory), datagrams.room)
        self._heads = [slot[:HEAD] for slot in datagrams.slots]
        self._kinds: dict[tuple[int, tuple[int, ...]], Kind] = {}

    def row(self, count: int) -> Row | None:
        """All the messages, so many, as a row; None if not all are about plain packets with a stamp, or too mixed."""
        lengths = self._datagrams.lengths(count)
        groups: dict[int, Group] = {}
        for length in dict.fromkeys(lengths):
            if len(groups) == MOST_GROUPS:
                return None
            group = self._group(length, lengths)
            if group is None:
                return None
            groups[length] = group
        return Row(self._datagrams, lengths, groups)

    def _group(self, length: int, lengths: list[int]) -> Group | None:
        """The messages of one length; None if they aren't alike, nor all about plain packets with a stamp."""
        table, count = self._table, lengths.count(length)
        if count < len(lengths):
            heads = [head for head, each in zip(self._heads, lengths, strict=False) if each == length]
            table = Table(memoryview(b"".join(heads)), len(self._heads[0]))
        layout = self._layouts.of(table.memory)
        at = layout.payload
        key = plain_key(bytes(table.memory[at : min(at + LONGEST_KEY, length)]))
        if not key or not layout.stamped or at + LONGEST_KEY > HEAD:
            return None
        kind = self._kind(layout, 4 if len(key) == V4_KEY else 6)
        if count > 1 and not table.is_constant(kind.same, count):
            return None
        return Group(table, count, layout, key, is_one_flow=count == 1 or table.is_constant(kind.key, count))

    def _kind(self, layout: Layout, version: int) -> Kind:
        named = (version, layout.expected)
        kind = self._kinds.get(named)
        if kind is None:
            if len(self._kinds) >= MAX_LAYOUTS:
                self._kinds.clear()
            at, (first, last) = layout.payload, KEY[version]
            *before, (begin, _) = layout.constant  # the last one ends where the packet begins
            (_, end), *behind = ((at + begin, at + end) for begin, end in SAME[version])
            same = [column for span in (*before, (begin, end), *behind) for column in columns_in(*span)]
            kind = self._kinds[named] = Kind(same, columns_in(at + first, at + last))
        return kind
