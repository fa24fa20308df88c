"""What the commands have in common that analyse a trace: options for what to list and to write."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

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


def give(
    result: Report,
    records: Sequence[Record],
    *,
    csv: Path | None,
    chrome: Path | None,
    json: Path | None,
    out: Console,
) -> int:
    """Print and write the report of a trace; the exit status: 1 if the trace is not whole."""
    from shaper.report.blocking import write_csv
    from shaper.report.output import write_json
    from shaper.trace.export import write_chrome
    from shaper.trace.show import as_json, show

    show(result, out)
    if result.cut:
        out.print(f"warning: {result.cut}; the report is of what comes before", markup=False)
    if result.lost:
        out.print(f"warning: {result.lost} events were lost; what was under way then is not reported", markup=False)
    if csv is not None:
        with csv.open("w", newline="") as file:
            write_csv(result.blockings, file)
    if chrome is not None:
        with chrome.open("w") as file:
            write_chrome(result, records, file)
    write_json(as_json(result), json)
    return int(bool(result.cut or result.lost))
