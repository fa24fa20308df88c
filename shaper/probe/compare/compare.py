"""The same workload under several conditions: which calls waited where, and which waits netem hides."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import NamedTuple

from shaper.probe.compare.apart import apart
from shaper.probe.compare.conditions import Condition, prepare
from shaper.probe.ends.play import ProbePlan
from shaper.probe.ends.run import ProbeRun
from shaper.probe.explain.blockings import blockings
from shaper.units import ms

THRESHOLD = 5 * ms
MANY = 24
"""More rows than these are summed up by system call: single calls of a long transfer can't be told apart."""


class Wait(NamedTuple):
    """One call that may have waited, in ns; the time before the client began is not counted."""

    role: str
    task: str
    syscall: str
    waited_for: str
    duration: int


@dataclass(frozen=True)
class Column:
    """A condition, and what came of it.

    Attributes:
        waits: of each run, in the order of the calls.
        runs: of the probe; none where a command was run.
        times_from: who measured.
    """

    condition: Condition
    waits: Sequence[Sequence[Wait]]
    runs: Sequence[ProbeRun] = ()
    times_from: str = "the ends themselves, around each call"


class Cell(NamedTuple):
    """Over the runs of one condition, in ns."""

    median: int
    min: int
    max: int


@dataclass(frozen=True)
class Row:
    """One call in all conditions.

    Attributes:
        nth: the how-manieth of its name in its task; None if all of them are summed up.
        cells: by the condition's name; a condition in which the call was not made has none.
        hidden: it doesn't wait under netem, but elsewhere.
    """

    role: str
    task: str
    syscall: str
    waited_for: str
    nth: int | None
    cells: dict[str, Cell]
    hidden: bool

    def is_hidden_in(self, name: str, threshold: int) -> bool:
        return self.hidden and name in self.cells and self.cells[name].median >= threshold


def measure(condition: Condition, script: ProbePlan, repeat: int, *, seed: str, mtu: int) -> Column:
    """Play the workload so many times under a condition, in a network namespace of its own."""
    return apart(partial(_measure, condition, script, repeat, seed, mtu))


def _measure(condition: Condition, script: ProbePlan, repeat: int, seed: str, mtu: int) -> Column:
    from shaper.linux import namespace
    from shaper.probe.ends.run import probe

    namespace.enter(mtu)
    condition = prepare(condition)
    runs = probe(script, condition.policies, repeat=repeat, seed=seed)
    return Column(condition, [_waits(run) for run in runs], runs)


def _waits(run: ProbeRun) -> list[Wait]:
    return [
        Wait(each.role, each.task, each.syscall, each.waited_for, each.duration - each.before_client)
        for each in blockings(run, threshold=0)
    ]


def rows(columns: Sequence[Column], threshold: int = THRESHOLD) -> list[Row]:
    """The calls that waited longer than the threshold (ns) in some condition, in their order."""
    single = _rows(columns, threshold, _single)
    return single if len(single) <= MANY else _rows(columns, threshold, _summed)


Key = tuple[str, str, str, int | None]


def _single(waits: Iterable[Wait]) -> dict[Key, tuple[int, str]]:
    """Each call by itself."""
    found: dict[Key, tuple[int, str]] = {}
    counts: dict[tuple[str, str, str], int] = {}
    for wait in waits:
        name = wait.role, wait.task, wait.syscall
        counts[name] = counts.get(name, 0) + 1
        found[*name, counts[name]] = wait.duration, wait.waited_for
    return found


def _summed(waits: Iterable[Wait]) -> dict[Key, tuple[int, str]]:
    """All calls of one name together."""
    found: dict[Key, tuple[int, str]] = {}
    for wait in waits:
        key = wait.role, wait.task, wait.syscall, None
        found[key] = found.get(key, (0, ""))[0] + wait.duration, ""
    return found


def _rows(
    columns: Sequence[Column], threshold: int, of: Callable[[Iterable[Wait]], dict[Key, tuple[int, str]]]
) -> list[Row]:
    by_condition = {column.condition.name: [of(waits) for waits in column.waits] for column in columns}
    netem = {column.condition.name for column in columns if column.condition.netem}
    keys = dict.fromkeys(key for runs in by_condition.values() for run in runs for key in run)
    found = []
    for key in keys:
        cells: dict[str, Cell] = {}
        longest = (0, "")
        for name, runs in by_condition.items():
            made = [run[key] for run in runs if key in run]
            if made:
                durations = [duration for duration, _ in made]
                cells[name] = Cell(round(median(durations)), min(durations), max(durations))
                longest = max(longest, *made)
        waits = {name for name, cell in cells.items() if cell.median >= threshold}
        if waits:
            hidden = bool(netem) and not waits & netem
            found.append(Row(*key[:3], longest[1], key[3], cells, hidden))
    return sorted(found, key=lambda row: row.role)
