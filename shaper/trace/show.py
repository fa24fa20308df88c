"""A trace's report as tables, and as JSON (`schemas/report.json`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from shaper.report.blocking import as_json as blocking_as_json
from shaper.report.blocking import tables
from shaper.report.statistic import statistics_table
from shaper.trace.analysis.lacks import FATAL
from shaper.trace.analysis.summary import cpu_table
from shaper.trace.report import TraceReport
from shaper.units import ms, s, us

if TYPE_CHECKING:
    from rich.console import Console

Detail = Literal["glance", "path", "all"]
"""How much of a report is printed."""

VERSION = 2
ON_PATH = 20
"""Blockings on the command's path that are printed at most, the longest."""
LONG = 1 * ms
"""Blockings on the command's path that are shorter (ns) are not printed."""
SHOWN = 1 * us
"""Parts of a critical path that are shorter (ns) are not printed."""


def show(report: TraceReport, console: Console, detail: Detail = "path") -> None:
    """Print the report; starts are in ms since the trace's first event.

    Args:
        detail: the glance alone; the waits on the command's path as well; or all. Where no single command was traced,
            there is no glance, and all is printed.
    """
    if report.glance is not None:
        for line in report.glance.printed():
            console.print(line, soft_wrap=True)
        if detail == "glance":
            return
        console.print()
    span = (report.last - report.first) / s
    console.print(f"{report.events} events in {span:.3f} s, {report.lost} lost")
    fatal = [lack for lack in report.lacks if lack.event in FATAL]
    for lack in fatal or report.lacks:
        console.print(str(lack), soft_wrap=True)
    if not report.count:
        if not fatal:
            console.print(report.none, soft_wrap=True)
        return
    if report.glance is not None and detail == "path":
        _show_path(report, console)
    else:
        _show_all(report, console)


def _show_path(report: TraceReport, console: Console) -> None:
    on_path = [blocking for blocking in report.blockings if blocking.on_path]
    longest = sorted(on_path, key=lambda blocking: -blocking.duration)[:ON_PATH]
    listed = [blocking for blocking in on_path if blocking in longest and blocking.duration >= LONG]
    for table in tables(listed, report.first):
        console.print(table, "")
    blockings = "1 blocking" if report.count == 1 else f"{report.count} blockings"
    console.print(f"{len(listed)} of {blockings}: the longest on the critical path; --all shows all, and sums")


def _show_all(report: TraceReport, console: Console) -> None:
    if report.count > len(report.blockings):
        console.print(f"{report.count} blockings, the {len(report.blockings)} longest listed")
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
        "glance": None if report.glance is None else report.glance.as_json(),
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
