"""TCP options: where they are in a header, and how some of them are changed.

Source: RFC 9293, section 3.1. An option is one byte of kind, one of length, and a value; the length counts all three.
Two kinds are a single byte: end of list, and no-operation, which aligns what follows.
"""

from collections.abc import Mapping
from typing import Final

END: Final = 0
NO_OPERATION: Final = 1
MSS: Final = 2
SACK: Final = 5
MOST: Final = 40
"""The most bytes of options: a header has 15 words at most, and the first five are fixed."""


def end_of_header(raw: bytes, transport: int) -> int:
    """Where the TCP header at offset `transport` ends, by its own length field."""
    return transport + (raw[transport + 12] >> 4) * 4


def read_options(raw: bytes, transport: int) -> dict[int, slice]:
    """Where in `raw` the values of a TCP header's options are, by kind; of a repeated option the last.

    No-operations are left out. A malformed option, or one that was not copied whole, ends the list,
    as in Linux (tcp_parse_options() in net/ipv4/tcp_input.c).

    Args:
        raw: the packet.
        transport: where its TCP header begins.
    """
    found: dict[int, slice] = {}
    at, end = transport + 20, min(end_of_header(raw, transport), len(raw))
    while at < end:
        kind = raw[at]
        if kind == NO_OPERATION:
            at += 1
            continue
        if kind == END or at + 1 >= end:
            break
        following = at + raw[at + 1]
        if not at + 2 <= following <= end:
            break
        found[kind] = slice(at + 2, following)
        at = following
    return found


def changed_options(raw: bytes, transport: int, values: Mapping[int, bytes | None]) -> bytes:
    """A TCP header's options with these values, padded to whole words.

    Args:
        raw: the packet.
        transport: where its TCP header begins.
        values: by kind. An option that is there gets the new value, in its place; one that isn't
            is put in front of the others; one whose value is None is taken out.

    Raises:
        ValueError: there is no such option, or the header has no room for it.
    """
    begin, found = transport + 20, read_options(raw, transport)
    changed = bytearray(raw[begin : end_of_header(raw, transport)])
    # From the last to the first, so that the places of those before stay right.
    for kind in sorted(values.keys() & found.keys(), key=lambda kind: found[kind].start, reverse=True):
        changed[found[kind].start - 2 - begin : found[kind].stop - begin] = _option(kind, values[kind])
    changed[:0] = b"".join(_option(kind, value) for kind, value in values.items() if kind not in found)
    changed += bytes(-len(changed) % 4)
    if len(changed) > MOST:
        raise ValueError(f"a TCP header has room for {MOST} bytes of options, not for {len(changed)}")
    return bytes(changed)


def _option(kind: int, value: bytes | None) -> bytes:
    if value is None:
        return b""
    if kind in (END, NO_OPERATION) or not 0 <= kind <= 255 or len(value) > MOST - 2:
        raise ValueError(f"there is no TCP option of kind {kind} with {len(value)} bytes of value")
    return bytes((kind, 2 + len(value))) + value
