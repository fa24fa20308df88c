"""How far a command is: a bar on a terminal, elsewhere a line on standard error now and then; with --quiet, nothing."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

from shaper.report.table import printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as Bar

T = TypeVar("T")
SILENCE = 2.0
"""Seconds that a command may be silent; so long pass before the first line, and between two."""


class Progress:
    """Shows how far something is, while it is entered.

    Args:
        what: is done, in words: "trials".
        total: how much there is; None if nobody knows.
        out: where the report goes: if that is a terminal, so does the bar; if it is quiet, nothing is shown.
        counts: the numbers are shown, not the share alone.
        still: nothing moves between two steps, for no thread may disturb what is measured.
        most: seconds that it takes at most, where nobody knows the total.
    """

    def __init__(
        self,
        what: str,
        total: int | None,
        out: Console | None,
        *,
        counts: bool = True,
        still: bool = False,
        most: float | None = None,
    ) -> None:
        self._what, self._total, self._counts, self._most = printable(what), total, counts, most
        self._begun = self._said = time.monotonic()
        self._done = 0
        self._is_silent = out is None or out.quiet
        self._bar: Bar | None = None
        if out is not None and not self._is_silent:
            self._bar = _bar(self._what, total, out, counts, still, most)

    def __enter__(self) -> Progress:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def reach(self, done: int) -> None:
        """So much is done."""
        self._done = done
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=done)
            self._bar.refresh()
        elif not self._is_silent and time.monotonic() - self._said >= SILENCE:
            self._said = time.monotonic()
            print(f"shaper: {self._line()}", file=sys.stderr, flush=True)

    def advance(self) -> None:
        """One more is done."""
        self.reach(self._done + 1)

    def _line(self) -> str:
        """`12 of 18 trials, about 3 s left`."""
        if self._total is None:
            rest = max(0.0, (self._most or 0.0) - (self._said - self._begun))
            return f"{self._done} {self._what}{f', at most {rest:.0f} s left' if self._most else ''}"
        share = f"{self._done} of {self._total} {self._what}"
        if not self._counts:
            share = f"{self._what}: {self._done / max(1, self._total):.0%}"
        if not 0 < self._done < self._total:
            return share
        left = (self._said - self._begun) / self._done * (self._total - self._done)
        return f"{share}, about {left:.0f} s left"


def _bar(what: str, total: int | None, out: Console, counts: bool, still: bool, most: float | None) -> Bar | None:
    """The bar; None where there is no terminal for it."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = out if out.is_terminal else Console(stderr=True)
    if not console.is_terminal:
        return None
    share = MofNCompleteColumn() if counts else TaskProgressColumn()
    left: tuple[ProgressColumn, ...] = (TimeRemainingColumn(), TextColumn("left"))
    if total is None:
        left = (TimeElapsedColumn(), TextColumn("" if most is None else f"of {most:.0f} s at most"))
    columns = (TextColumn(what, markup=False), BarColumn(), share, *left)
    bar = Progress(*columns, console=console, transient=True, auto_refresh=not still)
    bar.add_task("", total=total)
    return bar


class Status:
    """Shows what is under way, while it is entered: on a terminal in a line that changes, else in one now and then.

    Args:
        out: as for `Progress`.
    """

    def __init__(self, out: Console) -> None:
        self._out, self._said = out, time.monotonic()
        self._line = out.status("") if out.is_terminal and not out.quiet else None

    def __enter__(self) -> Status:
        if self._line is not None:
            self._line.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._line is not None:
            self._line.stop()

    def update(self, text: str) -> None:
        """Now it is this."""
        if self._line is not None:
            self._line.update(text[: self._out.width - 2])
        elif not self._out.quiet and time.monotonic() - self._said >= SILENCE:
            self._said = time.monotonic()
            print(f"shaper: {printable(text)}", file=sys.stderr, flush=True)


def shown(
    steps: Iterable[T],
    what: str,
    total: int | None,
    out: Console | None,
    *,
    still: bool = False,
    most: float | None = None,
) -> Iterator[T]:
    """The steps as they end, while `Progress` shows how many have; see there."""
    with Progress(what, total, out, still=still, most=most) as progress:
        for step in steps:
            yield step
            progress.advance()


@contextmanager
def reading(path: Path, out: Console) -> Iterator[None]:
    """Shows how much of a file, or of the files of a folder, this process has read. That costs the reading nothing.

    A thread looks how far the open files are, in /proc/self/fdinfo. What has no size, such as a pipe, is not shown.
    """
    sizes: dict[str, int] = {}
    with suppress(OSError):
        found = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
        sizes = {os.path.realpath(file): file.stat().st_size for file in found}
    total = sum(sizes.values())
    if not total or out.quiet:
        yield
        return
    over = threading.Event()

    def look() -> None:
        # What takes less than this shows no bar at all.
        if over.wait(SILENCE):
            return
        furthest = dict.fromkeys(sizes, 0)
        with Progress(f"reading {path.name}", total, out, counts=False) as progress:
            while not over.wait(SILENCE / 4):
                for file, at in _positions(sizes):
                    furthest[file] = max(furthest[file], min(at, sizes[file]))
                progress.reach(sum(furthest.values()))

    looking = threading.Thread(target=look, daemon=True)
    looking.start()
    try:
        yield
    finally:
        over.set()
        looking.join()


def _positions(files: Iterable[str]) -> Iterator[tuple[str, int]]:
    """Where this process is in those of these files that it has open, see proc_pid_fdinfo(5)."""
    for descriptor in os.listdir("/proc/self/fd"):
        with suppress(OSError, ValueError):
            file = os.readlink(f"/proc/self/fd/{descriptor}")
            if file in files:
                yield file, int(Path(f"/proc/self/fdinfo/{descriptor}").read_text().split(maxsplit=2)[1])
