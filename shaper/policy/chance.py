"""Chance as in netem: correlated random numbers, and distributions of delays.

Sources: get_crandom() and tabledist() of the kernel's net/sched/sch_netem.c; the
formulas in netem/{normal,pareto,paretonormal}.c of iproute2, which come from NIST Net.
"""

from __future__ import annotations

from functools import cache
from math import floor, trunc
from pathlib import Path
from random import Random
from typing import Annotated, NamedTuple

from shaper.units import Unit, read_file

SCALE = 8192
"""A table's entries are divided by this: NETEM_DIST_SCALE of linux/pkt_sched.h."""

LEAST, MOST = -32768, 32767
"""The range of an entry."""

LARGEST_TABLE = 16384
"""The most entries that tc reads from a file: NETEM_DIST_MAX."""


class Chance:
    """Random numbers from 0 to 1, each of which depends on the one before.

    The next number is (1 - correlation) * a fresh one + correlation * the last one, as in
    netem's `get_crandom`. As there, correlation draws the numbers towards one half: with a
    correlation of 50 %, an event of probability 1 % hardly ever happens.

    Args:
        random: the source of fresh numbers; a policy's `self.random`.
        correlation: 0 to 1.
    """

    def __init__(self, random: Random, correlation: float = 0.0) -> None:
        self._fresh = random.random
        self._correlation = correlation
        self._last = random.random() if correlation else 0.0

    def next(self) -> float:
        """A number from 0 up to, but not including, 1."""
        if self._correlation == 0:
            return self._fresh()
        self._last = self._fresh() * (1 - self._correlation) + self._last * self._correlation
        return self._last

    def happens(self, probability: float) -> bool:
        """Whether an event of this probability happens now; probability 0 uses up no number."""
        return probability > 0 and self.next() < probability


class Distribution(NamedTuple):
    """How values spread around their mean.

    Attributes:
        name: as the user gave it.
        table: the inverse of the cumulative distribution function, in 8192ths of the
            deviation; empty for the uniform distribution.
    """

    name: str
    table: tuple[int, ...] = ()

    def draw(self, mean: int, deviation: int, chance: Chance) -> int:
        """A value around this mean.

        Uniform values lie within `deviation` of the mean; for other distributions it is the
        standard deviation. netem takes its random number modulo the range or the table's size,
        which destroys the correlation that the user asked for. Here the number is scaled to the
        range, so the correlation stays.
        """
        if deviation == 0:
            return mean
        if not self.table:
            return mean - deviation + int(chance.next() * 2 * deviation)
        return mean + round(deviation * self.table[int(chance.next() * len(self.table))] / SCALE)


UNIFORM = Distribution("uniform")


@cache
def normal() -> Distribution:
    """The normal distribution, as in tc's normal.dist."""
    return Distribution("normal", tuple(max(_normal_value(index), LEAST) for index in range(0, 16384, 4)))


@cache
def pareto() -> Distribution:
    """The Pareto distribution with exponent 3, as in tc's pareto.dist."""
    return Distribution("pareto", tuple(_pareto_value(index) for index in range(65536, 0, -16)))


@cache
def paretonormal() -> Distribution:
    """A quarter normal, three quarters Pareto, which fits measured delays well, as in tc's paretonormal.dist."""
    values = ((_normal_value(index) + 3 * _pareto_value(65536 - 4 * index)) / 4 for index in range(0, 16384, 4))
    return Distribution("paretonormal", tuple(trunc(value) for value in values))


def _normal_value(index: int) -> int:
    # Imported here because it takes long, and every command imports this module.
    from statistics import NormalDist

    # iproute2 finds each x's entry of the table in steps of 0.00005, and the last x of an entry stays.
    x = NormalDist().inv_cdf((index + 0.5) / 16384)
    return round((floor((x + 10) / 0.00005) * 0.00005 - 10) * SCALE)


def _pareto_value(index: int) -> int:
    value: float = ((index / 65536) ** (-1 / 3) - 1.5) * (4 / 3) * SCALE
    return min(round(value), MOST)


TABLES = {"normal": normal, "pareto": pareto, "paretonormal": paretonormal}


def parse_distribution(text: str) -> Distribution:
    """A distribution by its name, or from a file in iproute2's .dist format.

    Raises:
        ValueError: there is no such name or file, or the file holds anything but numbers.
    """
    if text == UNIFORM.name:
        return UNIFORM
    if text in TABLES:
        return TABLES[text]()
    if text.endswith(".dist"):
        return read_distribution(Path(text))
    raise ValueError(f"'{text}' is none of uniform, {', '.join(TABLES)}, nor a file that ends in .dist")


def read_distribution(path: Path) -> Distribution:
    """A file's table: whole numbers from -32768 to 32767, in any order, with comments behind #.

    Raises:
        ValueError: the file can't be read, or holds no such table.
    """
    words = [word for line in read_file(path).splitlines() for word in line.partition("#")[0].split()]
    try:
        table = tuple(int(word) for word in words)
    except ValueError:
        raise ValueError(f"{path} may hold only whole numbers, and comments behind #") from None
    if not 0 < len(table) <= LARGEST_TABLE or not all(LEAST <= value <= MOST for value in table):
        raise ValueError(f"{path} must hold 1 to {LARGEST_TABLE} numbers from {LEAST} to {MOST}")
    return Distribution(str(path), tuple(sorted(table)))


def format_distribution(value: Distribution) -> str:
    """A distribution as `parse_distribution` reads it."""
    return value.name


Shape = Annotated[
    Distribution,
    Unit("uniform|normal|pareto|paretonormal|FILE.dist", parse_distribution, format_distribution),
]
