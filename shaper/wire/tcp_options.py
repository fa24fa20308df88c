"""TCP options: where a header has them, and a header's options with some of them changed.

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
"""Bytes of options that a header has room for: its length is at most 15 words, five of which are fixed."""


def end_of_header(raw: bytes, transport: int) -> int:
    """Where the TCP header at offset `transport` ends, as it says itself."""
    return transport + (raw[transport + 12] >> 4) * 4


def read_options(raw: bytes, transport: int) -> dict[int, slice]:
    """Where in `raw` the values of a TCP header's options are, by kind; of a repeated option the last.

    No-operations are skipped. A malformed option, or one that was not copied whole, ends the list,
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
        values: by kind; an option that the header has gets the new value in its place, one that it
            doesn't have is put first, one with the value None is left out.

    Raises:
        ValueError: an option that doesn't exist, or more than a header has room for.
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
