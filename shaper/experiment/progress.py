"""Progress of a plan, on a terminal: how much is done, and about how long the rest takes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from rich.console import Console

T = TypeVar("T")


def shown(trials: Iterable[T], total: int | None, out: Console | None) -> Iterator[T]:
    """The trials as they end, with a bar below them if this goes to a terminal.

    Args:
        total: how many there are; None if nobody knows.
    """
    if out is None or not out.is_terminal:
        yield from trials
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("trials"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("left"))
    with Progress(*columns, console=out, transient=True) as progress:
        task = progress.add_task("", total=total)
        for trial in trials:
            yield trial
            progress.advance(task)
