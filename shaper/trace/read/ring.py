"""Pages of the kernel's ring buffer, as trace_pipe_raw gives them.

A page is a time stamp, a count of its bytes, and events, each with the time since the
one before. The kernel's files events/*/*/format say where each field of an event lies.

Source: include/linux/ring_buffer.h, kernel/trace/ring_buffer.c; events/header_event.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Mapping
from struct import Struct
from typing import Any, NamedTuple

from shaper.trace.read.events import TraceEvent

# Values of the low five bits of an event's header that are not a length in words.
PADDING, TIME_EXTEND, TIME_STAMP = 29, 30, 31
DELTA_BITS = 27
STAMP_BITS = 59
# Flags in the count of bytes: events were lost before this page; their number follows the last event.
LOST, COUNTED = 1 << 31, 1 << 30
COUNT_MASK = (1 << 20) - 1
# Bits of common_flags (enum trace_flag_type).
HARDIRQ, SOFTIRQ = 0x08, 0x10
IN_INTERRUPT = HARDIRQ | SOFTIRQ

FIELD = re.compile(r"field:(.*?)(\w+)(\[\d*\])?;\s*offset:(\d+);\s*size:(\d+);\s*signed:(\d+);")
REMEMBERED = 10_000
"""How many texts or calls are remembered by what decodes them."""
CODES = {1: "b", 2: "h", 4: "i", 8: "q"}

Fields = dict[str, Any]
Decode = Callable[[bytes, int], Fields]
"""Decodes the fields of the event at an offset of a page."""

_stamp = Struct("<QQ")
_long = Struct("<Q")
_word = Struct("<I")
# An event's header, then the fields that all events have: number, flags, preemption count, thread.
_header = Struct("<IHBBi")


class Field(NamedTuple):
    """A field of an event.

    Attributes:
        offset: of its first byte, from the event's first byte on.
        size: in bytes.
        signed: whether the number is signed.
        kind: "int", "array", "text" (in the field itself) or "data" (the field says where the text lies).
    """

    offset: int
    size: int
    signed: bool
    kind: str

    @property
    def code(self) -> str:
        """Its letter for `struct`."""
        return CODES[self.size] if self.signed else CODES[self.size].upper()


class DamagedPageError(Exception):
    """A page is damaged.

    Attributes:
        events: those before the damage.
    """

    def __init__(self, events: list[TraceEvent]) -> None:
        super().__init__()
        self.events = events


def read_format(text: str) -> tuple[int, dict[str, Field]]:
    """The event's number and its fields, from the text of its format file."""
    number = re.search(r"^ID: (\d+)", text, re.MULTILINE)
    assert number is not None
    fields = {}
    for kind, name, array, offset, size, signed in FIELD.findall(text):
        form = "data" if "__data_loc" in kind else "int"
        if array and form == "int":
            form = "text" if kind.split()[0] == "char" else "array"
        fields[name] = Field(int(offset), int(size), signed == "1", form)
    return int(number[1]), fields


def reader(fields: Mapping[str, Field], *names: str) -> Callable[[bytes, int], tuple[int, ...]]:
    """Reads these numbers of the event at an offset all at once; they come in the order of their offsets."""
    layout, position = "<", 0
    for field in sorted(fields[name] for name in names):
        layout += f"{field.offset - position}x{field.code}"
        position = field.offset + field.size
    return Struct(layout).unpack_from


def text(field: Field) -> Callable[[bytes, int], str]:
    """Reads a text of the event at an offset. There are few different ones, so each is decoded once."""
    offset, size, known = field.offset, field.size, dict[bytes, str]()

    def read(page: bytes, at: int) -> str:
        if field.kind == "data":
            (place,) = _word.unpack_from(page, at + offset)
            start = at + (place & 0xFFFF)
            raw = page[start : start + (place >> 16)]
        else:
            raw = page[at + offset : at + offset + size]
        name = known.get(raw)
        if name is None:
            if len(known) >= REMEMBERED:
                known.clear()
            name = known[raw] = raw.split(b"\0", 1)[0].decode(errors="replace")
        return name

    return read


def read_page(page: bytes, cpu: int, kinds: Mapping[int, tuple[str, Decode]]) -> list[TraceEvent]:
    """The events of one page, in order.

    Args:
        page: as read from trace_pipe_raw.
        cpu: whose page it is.
        kinds: for each number of an event, its name and what decodes its fields; other events are left out.

    Raises:
        DamagedPageError: it ends in the middle of an event.
    """
    events: list[TraceEvent] = []
    try:
        _read_events(page, cpu, kinds, events)
    except struct.error:
        raise DamagedPageError(events) from None
    return events


def _read_events(page: bytes, cpu: int, kinds: Mapping[int, tuple[str, Decode]], events: list[TraceEvent]) -> None:
    at, count = _stamp.unpack_from(page)
    size = count & COUNT_MASK
    if count & LOST:
        lost = _long.unpack_from(page, 16 + size)[0] if count & COUNTED else 1
        events.append(TraceEvent(at, cpu, 0, "", "lost", {"count": lost}))
    position, end = 16, 16 + size
    unpack, new, add, get = _header.unpack_from, tuple.__new__, events.append, kinds.get
    # The last event may be shorter than what is unpacked at once.
    page += bytes(_header.size)
    while position < end:
        # This runs for every event of a trace, so all is read at once, and read again where the layout differs.
        header, number, flags, _, tid = unpack(page, position)
        length, delta = header & 31, header >> 5
        body = position + 4
        if length >= PADDING:
            (more,) = _word.unpack_from(page, body)
            if length == PADDING:
                if not delta:
                    break
                position += 4 + more
                continue
            delta += more << DELTA_BITS
            # An absolute time stamp lacks the highest bits.
            at = at + delta if length == TIME_EXTEND else (at >> STAMP_BITS << STAMP_BITS) | delta
            position += 8
            continue
        if length:
            position = body + 4 * length
        else:
            # The length comes first, and counts itself.
            position = body + _word.unpack_from(page, body)[0]
            _, number, flags, _, tid = unpack(page, body)
            body += 4
        at += delta
        kind = get(number)
        if kind is not None:
            name, decode = kind
            fields = decode(page, body)
            if flags & IN_INTERRUPT:
                fields["context"] = "h" if flags & HARDIRQ else "s"
            add(new(TraceEvent, (at, cpu, tid, "", name, fields)))
