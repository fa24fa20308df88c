"""What the commands have in common that analyse a trace: options for what to list and to write."""

from __future__ import annotations

import shlex
import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shaper.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from shaper.journal import Record
    from shaper.trace.report import Report

Longest = Annotated[int, typer.Option(metavar="N", min=1, help="How many blockings to list, the longest.")]
CsvFile = Annotated[Path | None, typer.Option("--csv", metavar="FILE", help="Write the blockings as CSV.")]
ChromeFile = Annotated[
    Path | None,
    typer.Option("--chrome", metavar="FILE", help="Write a JSON trace for Perfetto (ui.perfetto.dev), Trace Compass."),
]
RecordingDir = Annotated[
    Path | None, typer.Option("--recording", metavar="DIR", help="Keep the trace there, for `shaper report`.")
]
LONGEST = 100  # as `trace.report` has it, which is imported when it is needed
JOURNAL = "journal.jsonl"  # in a recording's directory


@contextmanager
def kept(directory: Path | None) -> Iterator[Path]:
    """A directory for a recording, which is removed afterwards unless it was asked for.

    Raises:
        UsageError: something is in it.
    """
    if directory is None:
        with TemporaryDirectory(prefix="shaper-") as temporary:
            yield Path(temporary)
        return
    if directory.exists() and any(directory.iterdir()):
        raise UsageError(f"{directory} is not empty; give a new directory")
    directory.mkdir(parents=True, exist_ok=True)
    yield directory


class Tracing:
    """How a command is traced: by the kernel, or where that can't be, by strace.

    Args:
        command: what is to be traced.
        directory: where to.

    Attributes:
        command: what is to be started.
        trace: what `read_trace` then takes.
        title: of a figure: the command as it was given.

    Raises:
        TraceError: neither is possible here.
    """

    def __init__(self, command: list[str], directory: Path) -> None:
        from shaper.trace.events import TraceError
        from shaper.trace.tracefs import obstacle

        self._by_strace = obstacle()
        self.command, self.trace, self.title = command, directory, shlex.join(command)
        if self._by_strace is not None:
            strace = shutil.which("strace")
            if strace is None:
                raise TraceError(
                    f"{self._by_strace}; strace would do without, but is not installed: apt install strace"
                )
            print(f"shaper: {self._by_strace}; traced by strace, which knows no wakers", file=sys.stderr)
            self.trace = directory / "calls.strace"
            self.command = [strace, "-f", "-ttt", "-T", "-yy", "-o", str(self.trace), "--", *command]

    def of(self, pid: int) -> AbstractContextManager[object]:
        """Records while it is entered; the process must wait until then."""
        from shaper.trace.recorder import Recorder

        return nullcontext() if self._by_strace is not None else Recorder(self.trace, [pid])

    def report(self, records: Sequence[Record], pid: int, longest: int = LONGEST) -> Report:
        """What it says of the process and its descendants."""
        from shaper.trace.report import report
        from shaper.trace.source import read_trace

        pids = [] if self._by_strace is not None else [pid]
        return report(read_trace(self.trace), records, pids=pids, listed=longest)

    def show(
        self, journal: Path, pid: int, out: Console, chrome: Path | None, figure: Path | None
    ) -> tuple[dict[str, Any], int]:
        """Print what it says beside the journal of the shaper; returns the document and the exit status."""
        from shaper.journal import read_journal
        from shaper.trace.show import as_json

        records = read_journal(journal)[1]
        result = self.report(records, pid)
        status = give(result, records, out, title=self.title, csv=None, chrome=chrome, figure=figure)
        return as_json(result), status


def give(
    result: Report,
    records: Sequence[Record],
    out: Console,
    *,
    title: str,
    csv: Path | None,
    chrome: Path | None,
    figure: Path | None,
) -> int:
    """Print the report of a trace and write its files; the exit status: 1 if the trace is not whole."""
    from shaper.report.blocking import write_csv
    from shaper.trace.export import write_chrome
    from shaper.trace.show import show

    show(result, out)
    if result.cut:
        out.print(f"warning: {result.cut}; the report is of what comes before", markup=False, soft_wrap=True)
    if result.lost:
        lost = f"warning: {result.lost} events were lost; what was under way then is not reported"
        out.print(lost, markup=False, soft_wrap=True)
    if csv is not None:
        with csv.open("w", newline="") as file:
            write_csv(result.blockings, file)
    if chrome is not None:
        with chrome.open("w") as file:
            write_chrome(result, records, file)
    if figure is not None:
        from shaper.report.figure import write
        from shaper.trace.panel import panel

        write(
            [panel(result, records)],
            figure,
            title=textwrap.shorten(title, 80, placeholder=" …"),
            origin="the trace began",
        )
        out.print(f"figure: {figure}", markup=False)
    return int(bool(result.cut or result.lost))
