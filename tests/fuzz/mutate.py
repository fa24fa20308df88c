"""Damages bytes: the same seed and random generator give the same result."""

from __future__ import annotations

import re
from collections.abc import Sequence
from random import Random

NUMBER = re.compile(rb"\d+(?:\.\d+)?")
EXTREMES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 2**63, 2**64 - 1)
"""What a length or an index may be, in one to eight bytes."""
TOKENS = (
    b"", b" ", b"\n", b"\r\n", b"\0", b"\t", b",", b":", b";", b"=", b"#", b"%", b'"', b"'", b"\\", b"(", b")", b"[",
    b"]", b"{", b"}", b"<", b">", b"-", b"+", b".", b"/", b"..", b"0", b"-1", b"1e9", b"1e999", b"nan", b"inf", b"0x10",
    b"08", b"4294967296", b"18446744073709551616", b"9" * 30, b"9" * 5000, b"0.0000000000001", b"null", b"true", b"[]",
    b"{}", b"[" * 3000, b"\xff", b"\xed\xa0\x80", b"\xef\xbb\xbf", "\u2066\u0301\u00e9".encode(), "\u0663".encode(),
    b"\x1b[31m", b"$x$", b"[b]", b"%s%n", b":b:", b"A" * 10000,
)  # fmt: skip
"""What no author of a file thinks of."""


def mutated(seed: bytes, random: Random, words: Sequence[bytes] = ()) -> bytes:
    """This seed with one to four faults.

    Args:
        seed: a sound input.
        random: decides which faults, and where.
        words: of the format, which are put in wrong places.
    """
    data = seed
    for _ in range(random.choice((1, 1, 1, 2, 2, 3, 4))):
        data = random.choice((flipped, cut, grown, repeated, moved, extreme, number, number, token, token, lines))(
            data, random, words
        )
    return data


def flipped(data: bytes, random: Random, words: Sequence[bytes]) -> bytes:
    """Some bits are others."""
    changed = bytearray(data)
    for _ in range(random.randint(1, 8) if data else 0):
        changed[random.randrange(len(data))] ^= 1 << random.randrange(8)
    return bytes(changed)


def cut(data: bytes, random: Random, words: Sequence[bytes]) -> bytes:
    """The end is missing, or a piece in the middle."""
    begin, end = _piece(data, random)
    return data[:begin] + (data[end:] if random.random() < 0.6 else b"")


def grown(data: bytes, random: Random, words: Sequence[bytes]) -> bytes:
    """There are random bytes in it."""
    at = random.randint(0, len(data))
    return data[:at] + random.randbytes(random.choice((1, 2, 4, 30))) + data[at:]


def repeated(data: bytes, random: Random, words: Sequence[bytes]) -> bytes:
    """A piece is there again."""
    begin, end = _piece(data, random)
    return data[:end] + data[begin:end] * random.choice((1, 1, 2, 20)) + data[end:]


def moved(data: bytes, random: Random, words: Sequence[bytes]) -> bytes:
    """A piece is elsewhere."""
    begin, end = _piece(data, random)
    rest, at = data[:begin] + data[end:], random.randint(0, len(data))
    return rest[:at] + data[begin:end] + rest[at:]


def extreme(data: bytes, random: Random, words: Sequence[bytes]) -> bytes:
    """A field of one to eight bytes has an extreme value."""
    size = random.choice((1, 2, 4, 8))
    value = random.choice(EXTREMES) % (1 << 8 * size)
    at = random.randint(0, len(data)) // size * size if random.random() < 0.5 else random.randint(0, len(data))
    field = value.to_bytes(size, random.choice(("little", "big")))
    return data[:at] + field + data[at + size :]


def number(data: bytes, random: Random, words: Sequence[bytes]) -> bytes:
    """A number in the text is another."""
    found = list(NUMBER.finditer(data[:100_000]))
    if not found:
        return extreme(data, random, words)
    place = random.choice(found)
    value = random.choice((*TOKENS, *(str(value).encode() for value in EXTREMES), b"-" + place[0], place[0] + b"0"))
    return data[: place.start()] + value + data[place.end() :]


def token(data: bytes, random: Random, words: Sequence[bytes]) -> bytes:
    """A word, of this format or of none, is put in, or replaces what there is."""
    at, word = random.randint(0, len(data)), random.choice((*TOKENS, *words))
    return data[:at] + word + data[at + random.choice((0, len(word))) :]


def lines(data: bytes, random: Random, words: Sequence[bytes]) -> bytes:
    """A line is missing, there again, or elsewhere."""
    all_lines = data.splitlines(keepends=True)
    if len(all_lines) < 2:
        return repeated(data, random, words)
    line = all_lines.pop(random.randrange(len(all_lines)))
    for _ in range(random.choice((0, 1, 2))):
        all_lines.insert(random.randint(0, len(all_lines)), line)
    return b"".join(all_lines)


def _piece(data: bytes, random: Random) -> tuple[int, int]:
    begin = random.randint(0, len(data))
    return begin, min(len(data), begin + random.choice((1, 2, 4, 8, 16, 100, 1000)))
