"""Runs a plan: skips what is done, keeps what a Ctrl-C leaves, writes the file now and then."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from shaper.experiment.executor import Executor, execute
from shaper.experiment.results import Level, Result, Results
from shaper.experiment.trial import Outcome, Trial
from shaper.report.progress import shown

if TYPE_CHECKING:
    from rich.console import Console

WRITE_INTERVAL = 10.0
"""Seconds between two versions of the file: what a killed shaper loses."""
Planned = tuple[Trial, int, Mapping[str, Level]]
"""A trial, its block, and the levels of the factors."""


def run(
    plan: Iterator[Planned],
    results: Results,
    result: Callable[[Trial, Outcome, Mapping[str, Level], int], Result],
    out: Console | None = None,
    *,
    total: int | None = None,
    most: float | None = None,
    file: Path | None = None,
    executor: Executor = execute,
) -> bool:
    """Run all trials of a plan that are not in the results, and add what they find; returns whether none was left out.

    Args:
        result: makes the result of a trial.
        out: where the report goes; see `shaper.report.progress`.
        total: how many trials there are at most; None if nobody knows.
        most: seconds that they take at most, if nobody knows the total.
        file: where the results go, in the end and in between; see `Results.write`.
        executor: runs the trials, here or on a cluster.

    Raises:
        ShaperError: see the executor.
        OSError: the file can't be written.
    """
    under_way: dict[str, tuple[int, Mapping[str, Level]]] = {}
    done = results.keys

    def to_do() -> Iterator[Trial]:
        for trial, block, levels in plan:
            if trial.key not in done:
                under_way[trial.key] = block, levels
                yield trial

    written = time.monotonic()
    try:
        for trial, outcome in shown(executor(to_do()), "trials", total, out, most=most):
            block, levels = under_way.pop(trial.key)
            results.of.append(result(trial, outcome, levels, block))
            if file is not None and time.monotonic() - written > WRITE_INTERVAL:
                results.write(file)
                written = time.monotonic()
    except KeyboardInterrupt:
        return False
    finally:
        if file is not None and results.of:
            results.write(file)
    return True
