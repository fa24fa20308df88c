"""What `shaper probe --json` writes (`schemas/probe.json`)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from shaper.journal import Record
from shaper.probe.ends.account import Call
from shaper.probe.explain.milestones import as_json as milestones_as_json
from shaper.probe.report import ProbeReport
from shaper.report.blocking import as_json as blocking_as_json
from shaper.report.statistic import Statistic
from shaper.trace.show import as_json as trace_as_json
from shaper.units import ms

VERSION = 1


def as_json(report: ProbeReport) -> dict[str, Any]:
    """The whole document; calls, blockings and packets carry the number of their run."""
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
