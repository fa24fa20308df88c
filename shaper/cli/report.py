"""`shaper report`: the analysis of a recorded trace."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from shaper.cli.options import FigureFile, Json
from shaper.cli.tracing import JOURNAL, LONGEST, All, ChromeFile, CsvFile, FoldedFile, Glance, Longest, give

EXAMPLES = (
    "shaper report lttng-traces/session-1/kernel --command nc",
    "shaper report DIR --journal shaper.jsonl --json=report.json",
    "shaper report DIR --figure program.svg --chrome program.json",
    "shaper report calls.strace  # strace -f -ttt -T -yy -o calls.strace COMMAND",
)


def report(
    trace: Annotated[
        Path,
        typer.Argument(
            metavar="TRACE",
            help="A directory of --recording, an LTTng kernel trace, or the text of tracefs, `trace-cmd report`, "
            "`perf script`, `perf trace` or strace.",
        ),
    ],
    journal: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The journal of a shaper that ran while the trace was recorded.")
    ] = None,
    pid: Annotated[
        list[int] | None,
        typer.Option(metavar="N", help="Show only this process and its descendants, or this thread; may be repeated."),
    ] = None,
    command: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Show only tasks with this name; may be repeated.")
    ] = None,
    longest: Longest = LONGEST,
    csv: CsvFile = None,
    chrome: ChromeFile = None,
    figure: FigureFile = None,
    folded: FoldedFile = None,
    glance: Glance = False,
    everything: All = False,
    json: Json = None,
) -> int:
    """Show which calls of a trace slept, and what was to blame.

    The report says how long each system call slept, what woke it, and which held packets
    were behind that. A trace may be of any size. The exit status is 1 if the trace is cut
    off or events were lost.
    """
    from shaper.journal import read_journal
    from shaper.report.output import console, write_json
    from shaper.report.progress import reading
    from shaper.trace.analysis.clocks import check_overlap, on_clock
    from shaper.trace.read.source import read_trace
    from shaper.trace.report import report as analyse
    from shaper.trace.show import as_json

    if journal is None and (trace / JOURNAL).is_file():
        journal = trace / JOURNAL
    recorded, out = read_trace(trace), console(json)
    records = on_clock(recorded.clock, *read_journal(journal)) if journal is not None else []
    with reading(trace, out):
        result = analyse(recorded, records, pids=pid or (), names=command or (), listed=longest)
    check_overlap(records, result.first, result.last)
    if records and recorded.clock == "unknown":
        out.print("the trace doesn't name its clock; it is taken for the journal's, CLOCK_MONOTONIC", soft_wrap=True)
    status = give(
        result,
        records,
        out,
        title=str(trace),
        csv=csv,
        chrome=chrome,
        figure=figure,
        folded=folded,
        glance=glance,
        everything=everything,
    )
    write_json(as_json(result), json)
    return status
