"""Durations, rates, sizes and shares: tc's spellings <-> numbers.

Durations are int nanoseconds, rates int bits per second, sizes int bytes, shares
floats from 0 to 1. The spellings are those of tc(8), "PARAMETERS". Where tc takes a
bare number for a duration (microseconds), a rate (bit/s) or a share (percent), a unit is
required here, because many readers would guess the wrong one.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Set
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated, Any, NamedTuple

ns = 1
us = 1_000
ms = 1_000_000
s = 1_000_000_000

DURATIONS = {
    "ns": ns, "nsec": ns, "nsecs": ns,
    "us": us, "usec": us, "usecs": us,
    "ms": ms, "msec": ms, "msecs": ms,
    "s": s, "sec": s, "secs": s,
    "m": 60 * s, "min": 60 * s,
}  # fmt: skip
RATES = {
    "bit": 1, "kbit": 10**3, "mbit": 10**6, "gbit": 10**9, "tbit": 10**12,
    "kibit": 2**10, "mibit": 2**20, "gibit": 2**30, "tibit": 2**40,
    "bps": 8, "kbps": 8 * 10**3, "mbps": 8 * 10**6, "gbps": 8 * 10**9, "tbps": 8 * 10**12,
    "kibps": 2**13, "mibps": 2**23, "gibps": 2**33, "tibps": 2**43,
}  # fmt: skip
SIZES = {
    "": 1, "b": 1, "k": 2**10, "kb": 2**10, "m": 2**20, "mb": 2**20, "g": 2**30, "gb": 2**30,
    "kbit": 2**7, "mbit": 2**17, "gbit": 2**27,
}  # fmt: skip


class Unit(NamedTuple):
    """How the values of one kind of option are written and read.

    Attributes:
        name: what the kind is called: "duration".
        parse: reads a value from the command line; raises ValueError for a bad one.
        format: writes a value as `parse` reads it.
    """

    name: str
    parse: Callable[[str], Any]
    format: Callable[[Any], str]


class Limit(NamedTuple):
    """The most that one policy object may hold; None means no bound."""

    packets: int | None = None
    bytes: int | None = None


class Ranges(Set[int]):
    """A set of whole numbers, kept as ranges, so that the size of a range costs nothing.

    Args:
        ranges: the first and the last number of each; they may overlap, in any order.
    """

    def __init__(self, ranges: Iterable[tuple[int, int]] = ()) -> None:
        self._firsts: list[int] = []
        self._lasts: list[int] = []
        for first, last in sorted(ranges):
            if self._lasts and first <= self._lasts[-1] + 1:
                self._lasts[-1] = max(self._lasts[-1], last)
            else:
                self._firsts.append(first)
                self._lasts.append(last)

    def __contains__(self, number: object) -> bool:
        if not isinstance(number, int):
            return False
        index = bisect_right(self._firsts, number)
        return index > 0 and number <= self._lasts[index - 1]

    def __iter__(self) -> Iterator[int]:
        for first, last in zip(self._firsts, self._lasts, strict=True):
            yield from range(first, last + 1)

    def __len__(self) -> int:
        return sum(last - first + 1 for first, last in zip(self._firsts, self._lasts, strict=True))

    def __bool__(self) -> bool:
        return bool(self._firsts)

    def __eq__(self, other: object) -> bool:
        return self._firsts == other._firsts and self._lasts == other._lasts if isinstance(other, Ranges) else False

    def __hash__(self) -> int:
        return hash((*self._firsts, *self._lasts))

    def __str__(self) -> str:
        pairs = zip(self._firsts, self._lasts, strict=True)
        return "+".join(f"{first}-{last}" if last > first else f"{first}" for first, last in pairs)


def split(text: str) -> tuple[Decimal, str]:
    """Split "20ms" into its number and its unit, in lower case.

    Raises:
        ValueError: the text doesn't start with a number, or with one that is out of range for every unit.
    """
    text = text.strip().lower()
    digits = len(text.rstrip("abcdefghijklmnopqrstuvwxyzµ%"))
    try:
        number = Decimal(text[:digits])
    except InvalidOperation:
        raise ValueError(f"'{text}' does not start with a number") from None
    if not number.is_finite() or not -30 < number.adjusted() <= 18:
        raise ValueError(f"'{text}' is out of range")
    return number, text[digits:].replace("µ", "u")


def whole(number: Decimal, factor: int, text: str, unit: str) -> int:
    """number * factor, which must be a whole number, 0 or more.

    Raises:
        ValueError: it is neither; the message quotes `text` and names `unit`.
    """
    value = number * factor
    if value != value.to_integral_value():
        raise ValueError(f"'{text}' is not a whole number of {unit}")
    if value < 0:
        raise ValueError(f"'{text}' is negative")
    return int(value)


def parse_duration(text: str) -> int:
    """Nanoseconds in "20ms", "1.5s", "0".

    Raises:
        ValueError: a missing or unknown unit, a negative time, a fraction of a nanosecond.
    """
    number, unit = split(text)
    if not unit and number == 0:
        return 0
    if unit not in DURATIONS:
        raise ValueError(f"'{text}' needs a unit of time, such as {exact(number)}ms (ns, us, ms, s, min)")
    return whole(number, DURATIONS[unit], text, "nanoseconds")


def format_duration(value: int) -> str:
    """The shortest exact spelling: 20_000_000 -> "20ms"."""
    if value == 0:
        return "0"
    for name, factor in (("s", s), ("ms", ms), ("us", us)):
        if abs(value) >= factor:
            return f"{exact(Decimal(value) / factor)}{name}"
    return f"{value}ns"


def parse_rate(text: str) -> int:
    """Bits per second in "10mbit", "100kbps" (bytes per second, as in tc), "0".

    Raises:
        ValueError: a missing or unknown unit, a negative rate.
    """
    number, unit = split(text)
    if not unit:
        if number == 0:
            return 0
        bare = exact(number)
        raise ValueError(f"'{text}' needs a unit: write {bare}bit, {bare}kbit or {bare}mbit")
    if unit not in RATES:
        raise ValueError(f"'{text}' is not a rate, such as 10mbit (bit, kbit, mbit, gbit; kbps: kilobytes/s)")
    return whole(number, RATES[unit], text, "bits per second")


def format_rate(value: int) -> str:
    """The shortest exact spelling of bits per second: 10_000_000 -> "10mbit"."""
    for name in ("gbit", "mbit", "kbit"):
        if value >= RATES[name]:
            return f"{exact(Decimal(value) / RATES[name])}{name}"
    return f"{value}bit"


def parse_size(text: str) -> int:
    """Bytes in "1500", "64kb" (1 kb is 1024 bytes, as in tc).

    Raises:
        ValueError: an unknown unit, a negative size.
    """
    number, unit = split(text)
    if unit not in SIZES:
        raise ValueError(f"'{text}' is not a size, such as 64kb (b, kb, mb, gb)")
    return whole(number, SIZES[unit], text, "bytes")


def format_size(value: int) -> str:
    """Bytes in the largest unit that divides them: 65536 -> "64kb"."""
    for name in ("gb", "mb", "kb"):
        if value and value % SIZES[name] == 0:
            return f"{value // SIZES[name]}{name}"
    return f"{value}b"


def parse_share(text: str) -> float:
    """The share, 0 to 1, in "5%".

    Raises:
        ValueError: no percent sign, or not from 0% to 100%.
    """
    number, unit = split(text)
    if unit != "%" and number != 0:
        raise ValueError(f"'{text}' needs a percent sign, such as 5%")
    if not 0 <= number <= 100:
        raise ValueError(f"'{text}' is not from 0% to 100%")
    return float(number / 100)


def format_share(value: float) -> str:
    """A share as percents: 0.05 -> "5%"."""
    return f"{value * 100:.10g}%"


def parse_count(text: str) -> int:
    """The number in "3".

    Raises:
        ValueError: not a whole number, 0 or more, or one of more than 18 digits.
    """
    if not text.isascii() or not text.isdigit():
        raise ValueError(f"'{text}' is not a whole number, 0 or more")
    if len(text) > 18:
        raise ValueError(f"'{text}' is out of range")
    return int(text)


def parse_numbers(text: str) -> Ranges:
    """The numbers in "1+5+10-12", or in a file with a number or a range on each line; "none" is no number.

    Raises:
        ValueError: neither numbers nor a file of numbers.
    """
    if text.strip() in ("", "none"):
        return Ranges()
    if text[0].isdigit():
        return Ranges(parse_range(part) for part in text.split("+"))
    try:
        parts = read_file(text).split()
    except ValueError as error:
        raise ValueError(f"neither numbers, such as 1+5+10-12, nor a file of them: {error}") from None
    return Ranges(parse_range(part) for part in parts)


def read_file(path: str | Path) -> str:
    """The text of a file; what is no UTF-8 in it becomes U+FFFD.

    Raises:
        ValueError: it can't be read.
    """
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except (OSError, ValueError) as error:
        # A path with a null byte is a ValueError.
        raise ValueError(f"can't read {path}: {getattr(error, 'strerror', error)}") from None


def parse_range(text: str) -> tuple[int, int]:
    """The first and the last number in "10-12"; both are the same in "10".

    Raises:
        ValueError: neither a number nor a range, its last number is below the first, or it is out of range.
    """
    first, dash, last = text.partition("-")
    ends = (first, last) if dash else (first, first)
    if not all(end.isascii() and end.isdigit() for end in ends):
        raise ValueError(f"'{text}' is not a number or a range, such as 10-12")
    low, high = (parse_count(end) for end in ends)
    if low > high:
        raise ValueError(f"'{text}' ends before it begins; write {high}-{low}")
    return low, high


def format_numbers(value: Set[int]) -> str:
    """The numbers in order, as `parse_numbers` reads them: "1+5+10-12"."""
    return str(value if isinstance(value, Ranges) else Ranges((number, number) for number in value)) or "none"


def parse_limit(text: str) -> Limit:
    """The bound in "1000" (packets), "64kb" (bytes) or "none".

    Raises:
        ValueError: not a bound, or less than one packet or byte.
    """
    if text.strip().lower() in ("none", "off"):
        return Limit()
    number, unit = split(text)
    if unit in ("", "p", "packet", "packets"):
        limit = Limit(packets=whole(number, 1, text, "packets"))
    else:
        limit = Limit(bytes=parse_size(text))
    if not (limit.packets or limit.bytes):
        raise ValueError(f"'{text}' is below one packet or byte")
    return limit


def format_limit(value: Limit) -> str:
    """A bound as `parse_limit` reads it: "1000", "64kb", "none"."""
    if value.bytes is not None:
        return format_size(value.bytes)
    return "none" if value.packets is None else str(value.packets)


def exact(value: Decimal) -> str:
    """A number without an exponent or trailing zeros."""
    return f"{value.normalize():f}"


Duration = Annotated[int, Unit("duration", parse_duration, format_duration)]
Time = Annotated[int, Unit("time", parse_duration, format_duration)]
"""A duration during which no packet is held, so it may be longer than `max_hold`."""
Rate = Annotated[int, Unit("rate", parse_rate, format_rate)]
Size = Annotated[int, Unit("size", parse_size, format_size)]
Share = Annotated[float, Unit("share", parse_share, format_share)]
Count = Annotated[int, Unit("count", parse_count, str)]
Numbers = Annotated[Set[int], Unit("numbers or FILE", parse_numbers, format_numbers)]
Bound = Annotated[Limit, Unit("packets or bytes", parse_limit, format_limit)]
