"""Statistics of durations: count, sum, extremes, mean and standard deviation."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import sqrt
from typing import TYPE_CHECKING, Any

from shaper.report.table import Cell, table
from shaper.units import ms

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(slots=True)
class Statistic:
    """Count, sum, extremes, mean and standard deviation of durations (ns), in one pass (Welford's method)."""

    count: int = 0
    sum: int = 0
    min: int = 0
    max: int = 0
    mean: float = 0.0
    _squares: float = 0.0

    def add(self, duration: int) -> None:
        """Take one more duration (ns) into account."""
        if duration < self.min or not self.count:
            self.min = duration
        if duration > self.max:
            self.max = duration
        self.count += 1
        self.sum += duration
        away = duration - self.mean
        self.mean += away / self.count
        self._squares += away * (duration - self.mean)

    @property
    def stddev(self) -> float:
        """The standard deviation in ns, with the durations as the whole population; 0 for a single one."""
        return sqrt(self._squares / self.count) if self.count else 0.0

    def as_json(self) -> dict[str, Any]:
        """An entry of a document; durations in ms."""
        return {
            "n": self.count, "sum_ms": self.sum / ms, "min_ms": self.min / ms, "max_ms": self.max / ms,
            "mean_ms": self.mean / ms, "stddev_ms": self.stddev / ms,
        }  # fmt: skip


def statistics_table(title: str, first: str, rows: Iterable[tuple[str, Statistic]]) -> Table:
    """A table of N, sum, extremes, mean and standard deviation (ms), the row with the largest sum first.

    Args:
        first: the title of the first column, which has the rows' names.
    """
    lines: list[list[Cell]] = [
        [name, row.count, *(value / ms for value in (row.sum, row.min, row.max, row.mean, row.stddev))]
        for name, row in sorted(rows, key=lambda item: -item[1].sum)
    ]
    return table([first, "N", "Sum", "Min", "Max", "Mean", "Stddev"], lines, title=title)
