"""The probe's report as tables, and as JSON (`schemas/probe.json`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from textwrap import fill
from typing import TYPE_CHECKING, Any

from shaper.journal import Record
from shaper.probe.ends.account import Call
from shaper.probe.ends.processes import ROLES
from shaper.probe.explain.milestones import as_json as milestones_as_json
from shaper.probe.panel import panel
from shaper.probe.report import ProbeReport
from shaper.report.blocking import Blocking, because
from shaper.report.blocking import as_json as blocking_as_json
from shaper.report.ladder import ladder
from shaper.report.statistic import Statistic, statistics_table
from shaper.report.table import Cell, table
from shaper.trace.show import as_json as trace_as_json
from shaper.units import ms

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

VERSION = 2
LISTED = 20
"""How many blockings of one end are printed, the longest; the JSON document has all."""


def show(report: ProbeReport, console: Console) -> None:
    """Print the blockings of the typical run, and statistics of all runs."""
    count, index = len(report.runs), report.typical
    played = [account.role for account in report.runs[index].accounts]
    roles = [role for role in ROLES if role in played]
    shaped = " | ".join(report.policies) or ("not shaped" if len(roles) > 1 else f"the {roles[0]} alone")
    which = f", run {index + 1} of {count} (the median)" if count > 1 else ""
    console.print(f"{report.workload}: {shaped}{which}", style="bold")
    if reached := _milestones(report):
        console.print(fill(reached, console.width))
    began, since = report.runs[index].began, "connect" if "client" in roles else "its first call"
    for role in roles:
        found = [blocking for blocking in report.blockings[index] if blocking.role == role]
        console.print()
        if found:
            longest = sorted(found, key=lambda blocking: -blocking.duration)[:LISTED]
            listed = [blocking for blocking in found if blocking in longest]
            which = f", the {LISTED} longest of {len(found)}" if len(found) > LISTED else ""
            console.print(_blockings(f"{role}, since {since}{which}", listed, began))
        else:
            console.print(f"{role}: no call waited longer than {report.threshold / ms:g} ms")
    lines = ladder(panel("", report.runs[index], report.blockings[index]))
    if lines:
        console.print("", *lines, sep="\n")
    for role in ROLES:
        for title, found_by in (("system call", report.by_syscall()), ("file descriptor", report.by_fd())):
            if role in found_by:
                console.print()
                rows = found_by[role].items()
                console.print(statistics_table(f"{role}, blocked by {title} (ms)", title.capitalize(), rows))
    for failure in report.failures():
        console.print(f"warning: {failure}")


def _milestones(report: ProbeReport) -> str:
    """The milestones in one or two lines."""
    reached = report.milestones
    parts = [
        f"{what} {at / ms:.1f} ms"
        for what, at in (
            ("client connected", reached.connected),
            ("server accepted", reached.accepted),
            ("server had data", reached.first_data),
            ("client closed", reached.closed),
        )
        if at is not None
    ]
    if reached.completed_by is not None:
        parts.append(f"handshake completed by the {reached.completed_by}")
    median = " (medians)" if len(report.runs) > 1 else ""
    return f"since connect{median}: " + ", ".join(parts) if parts else ""


def _blockings(title: str, found: Sequence[Blocking], began: int) -> Table:
    columns = ["Start (ms)", "Duration (ms)", "Syscall", "Wakeup", "Because of (ms)"]
    rows: list[list[Cell]] = [
        [
            (blocking.start - began) / ms,
            blocking.duration / ms,
            f"{blocking.syscall} {blocking.fd}",
            blocking.waited_for if blocking.ended else f"{blocking.waited_for}, still blocked",
            because(blocking),
        ]
        for blocking in found
    ]
    return table(columns, rows, title=title)


def as_json(report: ProbeReport) -> dict[str, Any]:
    """The document of `shaper probe --json`. Calls, blockings and packets have the number of their run, from 1."""
    numbered = list(enumerate(report.runs, 1))
    return {
        "v": VERSION,
        "workload": report.workload,
        "policies": list(report.policies),
        "threshold_ms": report.threshold / ms,
        "milestones": milestones_as_json(report.milestones),
        "runs": [
            {
                "run": number,
                "milestones": milestones_as_json(reached),
                "ends": [{"role": end.role, "pid": end.pid, "error": end.why} for end in run.accounts],
            }
            for (number, run), reached in zip(numbered, report.reached, strict=True)
        ],
        "calls": [
            {"run": number, **_call(call)} for number, run in numbered for end in run.accounts for call in end.calls
        ],
        "blockings": [
            {"run": number, **blocking_as_json(blocking)}
            for number, found in enumerate(report.blockings, 1)
            for blocking in found
        ],
        "by_syscall": list(_statistics("syscall", report.by_syscall())),
        "by_fd": list(_statistics("fd", report.by_fd())),
        "packets": [{"run": number, **_packet(record)} for number, run in numbered for record in run.records],
        "traces": [{"run": number, **trace_as_json(run.trace)} for number, run in numbered if run.trace is not None],
    }


def _call(call: Call) -> dict[str, Any]:
    return {
        "task": call.role, "role": call.role, "pid": call.pid, "tid": call.pid, "syscall": call.syscall,
        "fd": call.fd, "start_ns": call.start, "end_ns": call.end, "result": call.result,
        "error": call.error or None, "bytes": call.bytes,
    }  # fmt: skip


def _packet(record: Record) -> dict[str, Any]:
    return {
        "id": record.id, "flow": str(record.flow), "class": record.kind, "arrived_ns": record.arrived,
        "fate": record.fate, "verdict_begin_ns": record.begin,
        "held": [{"policy": hold.policy, "ms": hold.ns / ms} for hold in record.held],
    }  # fmt: skip


def _statistics(key: str, of: dict[str, dict[str, Statistic]]) -> Iterator[dict[str, Any]]:
    for role, found in of.items():
        for name, statistic in found.items():
            yield {"role": role, key: name, **statistic.as_json()}
