"""CPU time over the process tree."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from shaper.report.table import Cell, table
from shaper.trace.analysis.tasks import Task
from shaper.units import ms

if TYPE_CHECKING:
    from rich.table import Table


class CpuTime(NamedTuple):
    """CPU time of one process (ns).

    Attributes:
        depth: how many of its ancestors are in the tree.
        own: its own.
        sub: that of its descendants.
    """

    process: int
    name: str
    depth: int
    own: int
    sub: int

    @property
    def total(self) -> int:
        """Its own and that of its descendants."""
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


def cpu_table(times: Iterable[CpuTime]) -> Table:
    """A table with a row for each process, indented by its depth; times in ms."""
    rows: list[list[Cell]] = [
        [f"{'  ' * time.depth}{time.name}[{time.process}]", time.own / ms, time.sub / ms, time.total / ms]
        for time in times
    ]
    return table(["Process", "Self", "Sub", "Total"], rows, title="CPU time (ms)")
