"""Options, recording and output of the commands that analyse a trace."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from shaper.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from shaper.journal import Record
    from shaper.trace.report import TraceReport
    from shaper.trace.tracing import Tracing

Longest = Annotated[int, typer.Option(metavar="N", min=1, help="List the N longest blockings.")]
CsvFile = Annotated[Path | None, typer.Option("--csv", metavar="FILE", help="Write the blockings as CSV.")]
ChromeFile = Annotated[
    Path | None,
    typer.Option(
        "--chrome", metavar="FILE", help="Write the trace as JSON, for Perfetto (ui.perfetto.dev) or Trace Compass."
    ),
]
FoldedFile = Annotated[
    Path | None,
    typer.Option(
        "--folded", metavar="FILE", help="Write the blockings as folded stacks by wait and packet, for flame graphs."
    ),
]
RecordingDir = Annotated[
    Path | None, typer.Option("--recording", metavar="DIR", help="Keep the trace in DIR, for `shaper report`.")
]
Glance = Annotated[bool, typer.Option("--glance", help="Print only what the command's time went into, in a few lines.")]
All = Annotated[
    bool, typer.Option("--all", help="Print all blockings, not only those on the command's path, and statistics.")
]
LONGEST = 100  # as `trace.report` has it, which is imported when it is needed
JOURNAL = "journal.jsonl"  # in a recording's directory


@contextmanager
def kept(directory: Path | None) -> Iterator[Path]:
    """A directory for a recording: this one, or a temporary one that is removed afterwards.

    Raises:
        UsageError: this one is not empty.
    """
    if directory is None:
        with TemporaryDirectory(prefix="shaper-") as temporary:
            yield Path(temporary)
        return
    if directory.exists() and any(directory.iterdir()):
        raise UsageError(f"{directory} is not empty; choose another directory")
    directory.mkdir(parents=True, exist_ok=True)
    yield directory


def tracing_of(command: list[str], directory: Path) -> Tracing:
    """The tracing of this command; prints a line if strace has to do it.

    Raises:
        TraceError: it can't be traced here.
    """
    from shaper.trace.tracing import Tracing

    tracing = Tracing(command, directory)
    if tracing.why_strace is not None:
        print(f"shaper: {tracing.why_strace}; strace is used, which can't show what woke each call", file=sys.stderr)
    return tracing


def give(
    result: TraceReport,
    records: Sequence[Record],
    out: Console,
    *,
    title: str,
    csv: Path | None,
    chrome: Path | None,
    figure: Path | None,
    folded: Path | None = None,
    glance: bool = False,
    everything: bool = False,
) -> int:
    """Print the report of a trace and write its files; returns 1, as exit status, if the trace is incomplete."""
    from shaper.report.blocking import write_csv
    from shaper.trace.export import write_chrome, write_folded
    from shaper.trace.show import show

    show(result, out, "glance" if glance else "all" if everything else "path")
    if result.cut:
        out.print(f"warning: {result.cut}; the report covers only what comes before", soft_wrap=True)
    if result.lost:
        lost = f"warning: {result.lost} events were lost; calls that were under way then are not reported"
        out.print(lost, soft_wrap=True)
    if csv is not None:
        with csv.open("w", encoding="utf-8", errors="replace", newline="") as file:
            write_csv(result.blockings, file)
    if chrome is not None:
        with chrome.open("w", encoding="utf-8", errors="replace") as file:
            write_chrome(result, records, file)
    if folded is not None:
        with folded.open("w", encoding="utf-8", errors="replace") as file:
            write_folded(result.blockings, file)
    if figure is not None:
        from shaper.report.figure.write import write
        from shaper.trace.panel import panel

        write(
            [panel(result, records)],
            figure,
            title=textwrap.shorten(title, 80, placeholder=" …"),
            origin="the trace began",
        )
        out.print(f"figure: {figure}")
    return int(bool(result.cut or result.lost))
