"""A comparison, as tables and as JSON (`schemas/compare.json`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import fill
from typing import TYPE_CHECKING, Any

from shaper.experiment.compare.rows import Column, Row, rows
from shaper.probe.explain.milestones import Milestones, middle, milestones
from shaper.probe.explain.milestones import as_json as milestones_as_json
from shaper.units import ms

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

VERSION = 1


@dataclass
class Comparison:
    """What was compared, and the result.

    Attributes:
        what: the workload or the command.
        columns: one for each condition.
        threshold: a call that waits less (ns) has not waited.
        rows: the calls that waited somewhere.
        reached: by the condition's name, the medians of its runs' milestones.
    """

    what: str
    columns: Sequence[Column]
    threshold: int

    def __post_init__(self) -> None:
        self.rows = rows(self.columns, self.threshold)
        self.reached: dict[str, Milestones] = {
            column.condition.name: middle(milestones(run) for run in column.runs)
            for column in self.columns
            if column.runs
        }

    @property
    def netem(self) -> str | None:
        """The name of the condition that is netem, or its stand-in; None if there is none."""
        return next((column.condition.name for column in self.columns if column.condition.netem), None)

    def call_name(self, row: Row) -> str:
        """The call as a row's title: "server poll 2 (end of file)"."""
        alike = [other for other in self.rows if (other.task, other.syscall) == (row.task, row.syscall)]
        nth = " (all)" if row.nth is None else f" {row.nth}" if len(alike) > 1 else ""
        what = f" ({row.waited_for})" if row.waited_for else ""
        return f"{row.task} {row.syscall}{nth}{what}"

    def as_json(self) -> dict[str, Any]:
        """The document of `--json`."""
        return {
            "v": VERSION,
            "workload": self.what,
            "times_from": self.columns[0].times_from,
            "repeat": len(self.columns[0].waits),
            "conditions": [
                {
                    "name": column.condition.name, "policies": list(column.condition.policies),
                    "netem": column.condition.netem or None, "note": column.condition.note or None,
                    "milestones": milestones_as_json(self.reached[column.condition.name]) if column.runs else None,
                }
                for column in self.columns
            ],
            "rows": [
                {
                    "role": row.role, "task": row.task, "syscall": row.syscall, "nth": row.nth,
                    "waited_for": row.waited_for, "hidden_by_netem": row.hidden,
                    "cells": {
                        name: {"median_ms": cell.median / ms, "min_ms": cell.min / ms, "max_ms": cell.max / ms}
                        for name, cell in row.cells.items()
                    },
                }
                for row in self.rows
            ],
        }  # fmt: skip


def show(comparison: Comparison, console: Console) -> None:
    """Print the comparison."""
    repeat = len(comparison.columns[0].waits)
    of = f", median of {repeat} and spread" if repeat > 1 else ""
    console.print(f"{comparison.what}: blocked ms{of}", style="bold")
    console.print()
    console.print(_table(comparison))
    console.print()
    if comparison.reached:
        console.print(_handshakes(comparison))
        console.print()
    width = max(len(column.condition.name) for column in comparison.columns)
    for column in comparison.columns:
        line = f"{column.condition.name:{width}}  {column.condition}"
        console.print(fill(line, console.width, subsequent_indent=" " * (width + 2)))
    console.print(f"times from {comparison.columns[0].times_from}")
    for line in findings(comparison):
        console.print(fill(line, console.width, subsequent_indent="  "))


def _table(comparison: Comparison) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1))
    drawn.add_column("Call")
    for column in comparison.columns:
        drawn.add_column(column.condition.name, justify="right")
    names = [column.condition.name for column in comparison.columns]
    spread = len(comparison.columns[0].waits) > 1
    for row in comparison.rows:
        title = Text(comparison.call_name(row))
        if row.hidden:
            title.append("\nhidden by netem", style="bold red")
        cells = [_cell(row, name, comparison.threshold, spread=spread) for name in names]
        drawn.add_row(title, *cells)
    return drawn


def _cell(row: Row, name: str, threshold: int, *, spread: bool) -> Text:
    from rich.text import Text

    cell = row.cells.get(name)
    if cell is None:
        return Text("-")
    text = Text(f"{cell.median / ms:.1f}", style="bold red" if row.is_hidden_in(name, threshold) else "")
    return text.append(f"\n±{(cell.max - cell.min) / 2 / ms:.1f}", style="dim") if spread else text


def _handshakes(comparison: Comparison) -> Table:
    from shaper.report.table import Cell, table

    def time(value: int | None) -> Cell:
        return None if value is None else f"{value / ms:.1f}"

    def between(each: Milestones) -> int | None:
        """The time between the client's select or connect returning and the server's accept returning."""
        return None if each.connected is None or each.accepted is None else each.accepted - each.connected

    lines: list[list[Cell]] = [
        [name, time(each.connected), time(each.accepted), time(between(each)), each.completed_by, time(each.closed)]
        for name, each in comparison.reached.items()
    ]
    columns = ["condition", "client connected", "server accepted", "between", "completed by", "closed"]
    return table(columns, lines, title="handshake, ms since connect was called")


def findings(comparison: Comparison) -> list[str]:
    """What differs from netem, in words."""
    netem, found = comparison.netem, []
    if netem is None:
        return []
    for row in comparison.rows:
        cell = row.cells.get(netem)
        base = cell.median if cell is not None else 0
        under = f"{base / ms:.1f} ms under {netem}" if cell is not None else f"not called under {netem}"
        name, most = max(row.cells.items(), key=lambda item: item[1].median)
        times = f"{comparison.call_name(row)}: {under}, {most.median / ms:.1f} ms under {name}"
        if row.hidden:
            found.append(f"hidden by netem: {times}")
        elif most.median - base > max(comparison.threshold, base // 4):
            found.append(f"longer than under netem: {times}")
    return found
