"""Summaries: how often and how long calls slept; CPU time over the process tree."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import sqrt
from typing import TYPE_CHECKING, Any, NamedTuple

from shaper.report.table import Cell, table
from shaper.trace.tasks import Task
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
        self.min = duration if not self.count else min(self.min, duration)
        self.max = max(self.max, duration)
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


class CpuTime(NamedTuple):
    """CPU time of one process (ns): its own, its descendants', and both."""

    process: int
    name: str
    depth: int
    own: int
    sub: int

    @property
    def total(self) -> int:
        return self.own + self.sub


def cpu_times(tasks: Iterable[Task]) -> Iterator[CpuTime]:
    """The processes that used CPU time, as a tree, parents first."""
    own: dict[int, int] = {}
    names: dict[int, str] = {}
    children: dict[int, set[int]] = {}
    parents: dict[int, int] = {}
    for task in tasks:
        own[task.process] = own.get(task.process, 0) + task.cpu
        if task.tid == task.process or task.process not in names:
            names[task.process] = task.comm
        if task.parent and task.parent != task.process:
            parents[task.process] = task.parent
            children.setdefault(task.parent, set()).add(task.process)

    def total(process: int) -> int:
        return own.get(process, 0) + sum(total(child) for child in children.get(process, ()))

    def below(process: int, depth: int) -> Iterator[CpuTime]:
        sub = total(process) - own[process]
        if own[process] + sub:
            yield CpuTime(process, names[process], depth, own[process], sub)
            for child in sorted(children.get(process, ())):
                yield from below(child, depth + 1)

    for process in sorted(own):
        if parents.get(process) not in own:
            yield from below(process, 0)


def statistics_table(title: str, first: str, rows: Iterable[tuple[str, Statistic]]) -> Table:
    """N, sum, extremes, mean and standard deviation (ms) for each row, the largest sum first."""
    lines: list[list[Cell]] = [
        [name, row.count, *(value / ms for value in (row.sum, row.min, row.max, row.mean, row.stddev))]
        for name, row in sorted(rows, key=lambda item: -item[1].sum)
    ]
    return table([first, "N", "Sum", "Min", "Max", "Mean", "Stddev"], lines, title=title)


def cpu_table(times: Iterable[CpuTime]) -> Table:
    rows: list[list[Cell]] = [
        [f"{'  ' * time.depth}{time.name}[{time.process}]", time.own / ms, time.sub / ms, time.total / ms]
        for time in times
    ]
    return table(["Process", "Self", "Sub", "Total"], rows, title="CPU time (ms)")
