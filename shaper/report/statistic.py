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
    """Count, sum, extremes, mean and standard deviation of durations (ns), in one pass (Welford)."""

    count: int = 0
    sum: int = 0
    min: int = 0
    max: int = 0
    mean: float = 0.0
    _squares: float = 0.0

    def add(self, duration: int) -> None:
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
        """Of these durations as the whole population; 0 for one."""
        return sqrt(self._squares / self.count) if self.count else 0.0

    def as_json(self) -> dict[str, Any]:
        return {
            "n": self.count, "sum_ms": self.sum / ms, "min_ms": self.min / ms, "max_ms": self.max / ms,
            "mean_ms": self.mean / ms, "stddev_ms": self.stddev / ms,
        }  # fmt: skip


def statistics_table(title: str, first: str, rows: Iterable[tuple[str, Statistic]]) -> Table:
    """N, sum, extremes, mean and standard deviation (ms) for each row, the largest sum first."""
    lines: list[list[Cell]] = [
        [name, row.count, *(value / ms for value in (row.sum, row.min, row.max, row.mean, row.stddev))]
        for name, row in sorted(rows, key=lambda item: -item[1].sum)
    ]
    return table([first, "N", "Sum", "Min", "Max", "Mean", "Stddev"], lines, title=title)
