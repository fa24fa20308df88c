"""What tc takes: numbers, and where in a pasted text the options of netem are.

Sources: get_time(), get_time64() and parse_percent() in tc/tc_util.c of iproute2, get_rate64()
and get_size() in lib/utils_math.c, get_s32() in lib/utils.c. They cut off what is below a
nanosecond, a byte per second or a byte. (tc cuts delays to microseconds.)
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path

from shaper.units import DURATIONS, RATES, SIZES, s

NUMBER = re.compile(r"([+-]?(?:0x[0-9a-f]+|(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d{1,3})?))(.*)", re.ASCII | re.IGNORECASE)
INTEGER = re.compile(r"([+-]?)(0x[0-9a-f]+|0[0-7]*|[1-9]\d*)", re.ASCII | re.IGNORECASE)
TIMES = {unit: factor for unit, factor in DURATIONS.items() if factor <= s}
LARGEST = 2**63 - 1
LARGEST_DELAY = (2**32 - 1) * 64
"""In ns: the kernel gets delay and jitter as 32 bits, in ticks of 64 ns."""

COMMANDS = re.compile(r"[\n;&|]+")
REDIRECTION = re.compile(r"(?<!\S)\d*>+&?\s*[^\s;&|]+")
CONTINUATION = re.compile(r"\\\s+")
COMMA = re.compile(r",(?=\s|[a-z]|$)", re.IGNORECASE)
HANDLE = re.compile(r"[0-9a-f]+:[0-9a-f]*", re.IGNORECASE)
SHOWN_BEFORE = {"root": 1, "ingress": 1, "offloaded": 1, "deleted": 1, "dev": 2, "parent": 2, "refcnt": 2}
"""What `tc qdisc show` writes between the handle and the options, and how many words each is."""

TABLES = ("normal", "pareto", "paretonormal")
TABLE_PATHS = ("/usr/lib/tc", "/usr/lib64/tc", "/lib/tc", "/usr/share/tc", "/usr/lib/*-linux-gnu/tc")
"""Where Linux distributions put the tables of iproute2."""


def words_of(text: str) -> tuple[list[str], bool]:
    """netem's options in a text, and whether they are as `tc qdisc show` writes them.

    Args:
        text: the options alone, with or without commas between them; or what has them: a tc
            command as in a script, with sudo, line ends, redirections and further commands,
            or what `tc qdisc show` has written.

    Raises:
        ValueError: it has tc commands, but not just one that adds netem.
    """
    text = REDIRECTION.sub(" ", CONTINUATION.sub(" ", text.translate({ord(quote): None for quote in "'\"`"})))
    commands = [COMMA.sub(" ", command).split() for command in COMMANDS.split(text)]
    ours = [words for words in commands if "netem" in words]
    if not ours:
        words = [word for command in commands for word in command]
        if {"tc", "qdisc"} & set(words):
            raise ValueError(f"there is no netem in '{' '.join(words)}'")
        return without_comment(words), False
    if len(ours) > 1:
        ours = [words for words in ours if not {"del", "delete"} & set(words[: words.index("netem")])]
    if len(ours) != 1:
        raise ValueError(f"there are {len(ours)} netem lines; give one of them")
    before, words = ours[0][: ours[0].index("netem")], ours[0][ours[0].index("netem") + 1 :]
    if {"del", "delete"} & set(before):
        raise ValueError("this line removes netem; give the one that adds it")
    is_shown = bool(words) and HANDLE.fullmatch(words[0]) is not None
    if is_shown:
        del words[0]
        while words and words[0] in SHOWN_BEFORE:
            del words[: SHOWN_BEFORE[words[0]]]
    return without_comment(words), is_shown


def without_comment(words: list[str]) -> list[str]:
    """The words before one that begins with #."""
    end = next((index for index, word in enumerate(words) if word.startswith("#")), len(words))
    return words[:end]


def has_unit(word: str) -> bool:
    """Whether there is something behind the number."""
    return bool(split(word)[1])


def read_time(word: str, without_unit: int) -> int:
    """A time in ns.

    Args:
        word: such as "100ms".
        without_unit: the ns that a number without a unit counts.

    Raises:
        ValueError: not a time, a negative one, or one of centuries.
    """
    return scaled(word, {**TIMES, "": without_unit}, "a time, such as 20ms (s, ms, us, ns)")


def read_rate(word: str) -> int:
    """A rate in bit/s, of whole bytes.

    Raises:
        ValueError: not a rate, or one that depends on a device.
    """
    if word.endswith("%"):
        raise ValueError(f"'{word}' is a share of a device's speed; write the rate itself, such as 10mbit")
    return scaled(word, {**RATES, "": 1}, "a rate, such as 10mbit (bit, kbit, mbit, gbit; kbps: kilobytes/s)") // 8 * 8


def read_size(word: str) -> int:
    """A number of bytes, or of packets, in "1500", "10k".

    Raises:
        ValueError: not a size of 32 bits.
    """
    value = scaled(word, SIZES, "a size, such as 1000 or 10k")
    if value >= 2**32:
        raise ValueError(f"'{word}' is out of range")
    return value


def read_percent(word: str) -> Decimal:
    """Percents, 0 to 100; the sign may be missing.

    Raises:
        ValueError: not a share.
    """
    number, unit = split(word)
    if unit not in ("", "%"):
        raise ValueError(f"'{word}' is not a share, such as 5%")
    if not 0 <= number <= 100:
        raise ValueError(f"'{word}' is not from 0% to 100%")
    return number


def read_integer(word: str, *, signed: bool = False) -> int:
    """A whole number, as strtol(3) reads it: 16, 0x10 or 020.

    Args:
        word: such as "16".
        signed: whether it may be negative.

    Raises:
        ValueError: not a whole number of 32 bits, or a negative one.
    """
    match = INTEGER.fullmatch(word)
    if match is None:
        raise ValueError(f"'{word}' is not a whole number")
    digits = match[2].lower()
    value = int(digits, 16 if digits.startswith("0x") else 8 if digits.startswith("0") else 10)
    if match[1] == "-":
        value = -value
    if value < 0 and not signed:
        raise ValueError(f"'{word}' is negative")
    if not -(2**31) <= value < 2**31 << (not signed):
        raise ValueError(f"'{word}' is out of range")
    return value


def split(word: str) -> tuple[Decimal, str]:
    """A number and its unit, in lower case.

    Raises:
        ValueError: the word doesn't start with a number.
    """
    match = NUMBER.fullmatch(word)
    if match is None:
        raise ValueError(f"'{word}' does not start with a number")
    if match[2].startswith(","):
        raise ValueError(f"'{word}' has a comma; write {word.replace(',', '.')}")
    digits = match[1].lower()
    number = Decimal(int(digits, 16)) if "x" in digits else Decimal(digits)
    return number, match[2].lower().replace("µ", "u")


def scaled(word: str, units: Mapping[str, int], kind: str) -> int:
    """A number times its unit, without what is behind the point.

    Raises:
        ValueError: not a number with one of these units; the message names the `kind`.
    """
    number, unit = split(word)
    if unit not in units:
        raise ValueError(f"'{word}' is not {kind}")
    if number < 0:
        raise ValueError(f"'{word}' is negative")
    if number * units[unit] > LARGEST:
        raise ValueError(f"'{word}' is out of range")
    return int(number * units[unit])


def table_of(name: str) -> str:
    """The value of our option for a distribution of tc's: a name, or the path of a table.

    A table NAME.dist is taken from the current directory, else from where iproute2 has its own.
    """
    if name in ("uniform", *TABLES):
        return name
    file = f"{name.removesuffix('.dist')}.dist"
    if Path(file).exists():
        return file
    found = (path for folder in TABLE_PATHS for path in Path("/").glob(f"{folder[1:]}/{file}"))
    return str(next(found, file))
