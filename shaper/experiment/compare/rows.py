"""Calls under several conditions: which one waited where, and which waits netem hides."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import NamedTuple

from shaper.experiment.compare.conditions import Condition
from shaper.probe.ends.run import ProbeRun
from shaper.units import ms

THRESHOLD = 5 * ms
"""A call that waits less than this (ns) has not waited."""
MANY = 24
"""If there are more rows than this, calls of one name share a row: those of a long transfer can't be told apart."""


class Wait(NamedTuple):
    """One call that may have waited, and how long, in ns; the time before the client began is not counted."""

    role: str
    task: str
    syscall: str
    waited_for: str
    duration: int


@dataclass(frozen=True)
class Column:
    """A condition, and how long each call waited under it.

    Attributes:
        waits: those of each run, in the order of the calls.
        runs: the probe's; none where a command was run.
        times_from: what measured the calls.
    """

    condition: Condition
    waits: Sequence[Sequence[Wait]]
    runs: Sequence[ProbeRun] = ()
    times_from: str = "the ends themselves, around each call"


class Cell(NamedTuple):
    """How long a call waited in the runs of one condition, in ns."""

    median: int
    min: int
    max: int


@dataclass(frozen=True)
class Row:
    """One call in all conditions.

    Attributes:
        nth: which call of its name in its task this is, from 1; None if the row has all of them together.
        cells: by the condition's name; a condition under which the call was not made has none.
        hidden: it waits under some condition, but not under netem.
    """

    role: str
    task: str
    syscall: str
    waited_for: str
    nth: int | None
    cells: dict[str, Cell]
    hidden: bool

    def is_hidden_in(self, name: str, threshold: int) -> bool:
        """Whether it waits under this condition, by the threshold (ns), and netem hides it."""
        return self.hidden and name in self.cells and self.cells[name].median >= threshold


def rows(columns: Sequence[Column], threshold: int = THRESHOLD) -> list[Row]:
    """The calls that waited longer than the threshold (ns) under some condition, in the order of the calls."""
    single = _rows(columns, threshold, _each)
    return single if len(single) <= MANY else _rows(columns, threshold, _by_name)


Key = tuple[str, str, str, int | None]


def _each(waits: Iterable[Wait]) -> dict[Key, tuple[int, str]]:
    """Each call by itself."""
    found: dict[Key, tuple[int, str]] = {}
    counts: dict[tuple[str, str, str], int] = {}
    for wait in waits:
        name = wait.role, wait.task, wait.syscall
        counts[name] = counts.get(name, 0) + 1
        found[*name, counts[name]] = wait.duration, wait.waited_for
    return found


def _by_name(waits: Iterable[Wait]) -> dict[Key, tuple[int, str]]:
    """The calls of one name together."""
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
