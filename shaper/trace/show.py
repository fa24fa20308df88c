"""A trace's report as tables, and as JSON (`schemas/report.json`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shaper.report.blocking import as_json as blocking_as_json
from shaper.report.blocking import tables
from shaper.report.statistic import statistics_table
from shaper.trace.analysis.lacks import FATAL
from shaper.trace.analysis.summary import cpu_table
from shaper.trace.report import TraceReport
from shaper.units import ms, s, us

if TYPE_CHECKING:
    from rich.console import Console

VERSION = 2
SHOWN = 1 * us
"""Parts of a critical path that are shorter (ns) are not printed."""


def show(report: TraceReport, console: Console) -> None:
    """Print the report; starts are in ms since the trace's first event."""
    span = (report.last - report.first) / s
    console.print(f"{report.events} events in {span:.3f} s, {report.lost} lost")
    fatal = [lack for lack in report.lacks if lack.event in FATAL]
    for lack in fatal or report.lacks:
        console.print(str(lack), soft_wrap=True)
    if report.count > len(report.blockings):
        console.print(f"{report.count} blockings, the {len(report.blockings)} longest listed")
    if not report.count:
        if not fatal:
            console.print(report.none, soft_wrap=True)
        return
    for table in tables(report.blockings, report.first):
        console.print(table, "")
    for task, spent in report.paths.items():
        console.print(f"Critical path of {task} (ms)")
        for what, duration in spent.items():
            if duration >= SHOWN:
                console.print(f"{duration / ms:14.3f}  {what}")
        console.print()
    for task, calls in report.by_syscall.items():
        console.print(statistics_table(f"{task}, blocked by system call (ms)", "Syscall", calls.items()), "")
    for task, files in report.by_fd.items():
        console.print(statistics_table(f"{task}, blocked by file descriptor (ms)", "fd", files.items()), "")
    if report.cpu:
        console.print(cpu_table(report.cpu))


def as_json(report: TraceReport) -> dict[str, Any]:
    """The document of `--json`."""
    return {
        "v": VERSION,
        "clock": report.clock,
        "first_ns": report.first, "last_ns": report.last, "events": report.events, "lost": report.lost,
        "cut": report.cut,
        "lacks": [lack._asdict() for lack in report.lacks],
        "blockings_total": report.count,
        "blockings": [blocking_as_json(blocking) for blocking in report.blockings],
        "by_syscall": [
            {"pid": task.tid, "task": task.comm, "syscall": call, **statistic.as_json()}
            for task, calls in report.by_syscall.items() for call, statistic in calls.items()
        ],
        "by_fd": [
            {"pid": task.tid, "task": task.comm, "fd": int(fd.split()[0]),
             "file": fd.partition(" ")[2], **statistic.as_json()}
            for task, files in report.by_fd.items() for fd, statistic in files.items()
        ],
        "paths": [
            {"pid": task.tid, "task": task.comm,
             "spent": [{"on": what, "ms": duration / ms} for what, duration in spent.items()]}
            for task, spent in report.paths.items()
        ],
        "cpu": [
            {"pid": time.process, "task": time.name, "depth": time.depth, "self_ms": time.own / ms,
             "sub_ms": time.sub / ms, "total_ms": time.total / ms}
            for time in report.cpu
        ],
    }  # fmt: skip
