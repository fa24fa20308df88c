"""Pages of the kernel's ring buffer, as trace_pipe_raw gives them.

A page is a time stamp, a count of its bytes, and events, each with the time since the
one before. Where each field of an event lies, the kernel says in events/*/*/format.

Source: include/linux/ring_buffer.h, kernel/trace/ring_buffer.c; events/header_event.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from struct import Struct
from typing import Any, NamedTuple

from shaper.trace.events import Event

# The low five bits of an event's header, where they are no length in words.
PADDING, TIME_EXTEND, TIME_STAMP = 29, 30, 31
DELTA_BITS = 27
STAMP_BITS = 59
# Flags of the count of bytes: events were lost before this page; their number follows the last event.
LOST, COUNTED = 1 << 31, 1 << 30
COUNT_MASK = (1 << 20) - 1
# Bits of common_flags (enum trace_flag_type).
HARDIRQ, SOFTIRQ = 0x08, 0x10

FIELD = re.compile(r"field:(.*?)(\w+)(\[\d*\])?;\s*offset:(\d+);\s*size:(\d+);\s*signed:(\d+);")
CODES = {1: "b", 2: "h", 4: "i", 8: "q"}

Fields = dict[str, Any]
Decode = Callable[[bytes, int], Fields]

_header = Struct("<QQ")
_word = Struct("<I")
_common = Struct("<HBBi")


class Field(NamedTuple):
    """Where a field of an event lies, from the event's first byte on."""

    offset: int
    size: int
    signed: bool
    kind: str  # "int", "text" (in place), "data" (its place is said), "array"

    @property
    def code(self) -> str:
        return CODES[self.size] if self.signed else CODES[self.size].upper()


def read_format(text: str) -> tuple[int, dict[str, Field]]:
    """The number and the fields that a format file says."""
    number = re.search(r"^ID: (\d+)", text, re.MULTILINE)
    assert number is not None
    fields = {}
    for kind, name, array, offset, size, signed in FIELD.findall(text):
        form = "data" if "__data_loc" in kind else "int"
        if array and form == "int":
            form = "text" if kind.split()[0] == "char" else "array"
        fields[name] = Field(int(offset), int(size), signed == "1", form)
    return int(number[1]), fields


def getter(field: Field) -> Callable[[bytes, int], Any]:
    """Reads this field of the event that begins at an offset."""
    offset = field.offset
    if field.kind == "text":
        size = field.size
        return lambda page, at: page[at + offset : at + offset + size].split(b"\0", 1)[0].decode(errors="replace")
    if field.kind == "data":

        def data(page: bytes, at: int) -> str:
            (place,) = _word.unpack_from(page, at + offset)
            start = at + (place & 0xFFFF)
            return page[start : start + (place >> 16)].split(b"\0", 1)[0].decode(errors="replace")

        return data
    if field.kind == "array":
        return lambda page, at: page[at + offset : at + offset + field.size]
    read = Struct("<" + field.code).unpack_from
    return lambda page, at: read(page, at + offset)[0]


def read_page(page: bytes, cpu: int, kinds: dict[int, tuple[str, Decode]]) -> Iterator[Event]:
    """The events of one page, in order.

    Args:
        page: as read from trace_pipe_raw.
        cpu: whose.
        kinds: for each number of an event its name, and what makes its fields; others are passed over.
    """
    at, count = _header.unpack_from(page)
    size = count & COUNT_MASK
    if count & LOST:
        lost = Struct("<Q").unpack_from(page, 16 + size)[0] if count & COUNTED else 1
        yield Event(at, cpu, 0, "", "lost", {"count": lost})
    position, end = 16, 16 + size
    unpack, common = _word.unpack_from, _common.unpack_from
    while position < end:
        (header,) = unpack(page, position)
        length, delta = header & 31, header >> 5
        body = position + 4
        if length >= PADDING:
            if length == PADDING:
                if not delta:
                    return
                position += 4 + unpack(page, body)[0]
                continue
            (more,) = unpack(page, body)
            delta += more << DELTA_BITS
            # An absolute stamp lacks the highest bits.
            at = at + delta if length == TIME_EXTEND else (at >> STAMP_BITS << STAMP_BITS) | delta
            position += 8
            continue
        if length:
            position = body + 4 * length
        else:
            # The length itself comes first, and counts.
            position = body + unpack(page, body)[0]
            body += 4
        at += delta
        number, flags, _, tid = common(page, body)
        kind = kinds.get(number)
        if kind is not None:
            fields = kind[1](page, body)
            if flags & (HARDIRQ | SOFTIRQ):
                fields["context"] = "h" if flags & HARDIRQ else "s"
            yield Event(at, cpu, tid, "", kind[0], fields)
