"""The report of a trace: blockings, critical paths, statistics. How it is shown: see `show`."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from heapq import heappush, heappushpop

from shaper.journal import Record
from shaper.report.blocking import Blocking
from shaper.report.statistic import Statistic
from shaper.trace.analysis.analysis import Analysis
from shaper.trace.analysis.attribution import Attribution
from shaper.trace.analysis.lacks import Seen, lacks
from shaper.trace.analysis.loops import joined
from shaper.trace.analysis.path import Path, Step
from shaper.trace.analysis.summary import CpuTime, cpu_times
from shaper.trace.analysis.tasks import REMEMBERED, Off, Task
from shaper.trace.glance import Glance, glance
from shaper.trace.read.calls import SHORTEST
from shaper.trace.read.events import Clock, Lack, Trace, TraceError, TraceEvent
from shaper.units import ms

LISTED = 100
"""How many blockings a report lists, if nothing else is asked for."""


@dataclass(slots=True)
class TraceReport:
    """What a trace says of the chosen tasks; times in ns on the trace's clock.

    Attributes:
        clock: the trace's.
        first, last: times of the first and the last event.
        events, lost: how many were read, and how many the recorder lost.
        blockings: the longest ones, in order of time.
        count: how many blockings there are, listed or not.
        by_syscall, by_fd: how often and how long each process slept, by call and by file descriptor;
            its main thread stands for the process.
        paths: for each main thread, what the time along its critical path was spent on (ns).
        cpu: CPU time over the process tree.
        lacks: events that the trace lacks, with what that costs; none of strace's logs, which lack them all.
        none: what it means that there is no blocking; "" if there is one.
        glance: what the time of the traced command went into; None if no single command was traced.
        path: the steps of that command's critical path, the last first.
        cut: why the trace could not be read to its end; "" if it could.
    """

    clock: Clock = "unknown"
    first: int = 0
    last: int = 0
    events: int = 0
    lost: int = 0
    blockings: list[Blocking] = field(default_factory=list)
    count: int = 0
    by_syscall: dict[Task, dict[str, Statistic]] = field(default_factory=dict)
    by_fd: dict[Task, dict[str, Statistic]] = field(default_factory=dict)
    paths: dict[Task, dict[str, int]] = field(default_factory=dict)
    cpu: list[CpuTime] = field(default_factory=list)
    lacks: list[Lack] = field(default_factory=list)
    none: str = ""
    glance: Glance | None = None
    path: list[Step] = field(default_factory=list)
    cut: str = ""


def report(
    events: Trace | Iterable[TraceEvent],
    records: Iterable[Record] = (),
    *,
    pids: Collection[int] = (),
    names: Collection[str] = (),
    listed: int = LISTED,
) -> TraceReport:
    """Analyse a trace.

    Args:
        events: as a reader yields them.
        records: of a journal written at the same time, on the trace's clock (see `analysis.clocks`).
        pids: only these threads, and these processes with all their descendants; all if empty.
        names: only tasks with these names; all if empty.
        listed: how many blockings to list, the longest.

    Raises:
        TraceError: nothing could be read. If a trace can't be read to its end, `cut` says why instead.
    """
    analysis, records = Analysis(), list(records)
    attribution = Attribution(analysis, records)
    result = TraceReport(events.clock if isinstance(events, Trace) else "unknown")
    choice, counts = _Choice(analysis, pids, names), _Counts(result)
    longest: list[tuple[int, int, Task, Blocking]] = []
    try:
        for task, off in joined(analysis.run(events)):
            if task not in choice:
                continue
            duration = (analysis.last if off.end < 0 else off.end) - off.start
            result.count += 1
            counts.add(analysis.leader(task), off, duration)
            if len(longest) < listed:
                heappush(longest, (duration, result.count, task, attribution.explain(task, off)))
            elif duration > longest[0][0]:
                heappushpop(longest, (duration, result.count, task, attribution.explain(task, off)))
    except TraceError as error:
        if not analysis.count:
            raise
        result.cut = str(error)
    result.first, result.last, result.events, result.lost = analysis.first, analysis.last, analysis.count, analysis.lost
    # A task gets its name when it executes a program, and its role with its first connection: for all of its waits.
    named = (replace(blocking, task=task.comm, role=task.role) for _, _, task, blocking in longest)
    result.blockings = sorted(named, key=lambda blocking: blocking.start)
    everyone = [*analysis.exited, *analysis.tasks.values()]
    chosen = [task for task in everyone if task in choice]
    if not result.count:
        result.none = _none(result, bool(chosen), pids, names, scheduler=analysis.scheduler)
    if isinstance(events, Trace):
        result.lacks += events.lacks
    if analysis.scheduler:
        recorded = events.recorded if isinstance(events, Trace) else frozenset()
        result.lacks += list(
            lacks(
                Seen(
                    recorded | analysis.seen,
                    packets=bool(records) or any(blocking.waited_for == "network" for blocking in result.blockings),
                    client=any(task.role == "client" for task in everyone),
                )
            )
        )
        result.cpu = list(cpu_times(chosen))
        for task in chosen:
            if task in result.by_syscall:
                result.paths[task] = _spent(attribution.path, task, analysis)
        command = _command(chosen, analysis)
        if command is not None:
            waits: list[tuple[Task, Off]] = []
            result.path = attribution.path.of(command, *_lifetime(command, analysis), waits)
            result.glance = glance(command, result.path, records, attribution.packets)
            _mark(result.blockings, waits)
    return result


def _none(result: TraceReport, found: bool, pids: Collection[int], names: Collection[str], *, scheduler: bool) -> str:
    """What it means that there is no blocking. That no call slept is said only where that is known."""
    if not found:
        asked = " or ".join([*names, *map(str, pids)])
        where = "; tasks in a container have the host's numbers in a trace" if pids else ""
        return f"no task {asked} made a call in this trace{where}" if asked else "no task of this trace made a call"
    if result.lost or result.cut:
        return "no call of these tasks is known to have slept, but the trace is not complete"
    if not scheduler:
        return f"no call in this log took {SHORTEST // ms} ms or longer"
    return "no call of these tasks slept"


def _command(chosen: Iterable[Task], analysis: Analysis) -> Task | None:
    """The main thread of the process from which all chosen ones descend; None if there are several."""
    leaders = {task.process: task for task in chosen if task.tid == task.process}
    roots = [task for task in leaders.values() if task.parent not in leaders]
    return roots[0] if len(roots) == 1 else None


def _lifetime(task: Task, analysis: Analysis) -> tuple[int, int]:
    """From when to when (ns) the task's path is known."""
    since = task.past[0].start if len(task.past) >= REMEMBERED else max(task.since, analysis.first)
    return since, task.until or analysis.last


def _mark(blockings: list[Blocking], waits: Iterable[tuple[Task, Off]]) -> None:
    """Mark the blockings that have some of these sleeps. One of an event loop may have several."""
    starts: dict[int, list[int]] = {}
    for task, off in waits:
        starts.setdefault(task.tid, []).append(off.start)
    for index, blocking in enumerate(blockings):
        if any(blocking.start <= start < blocking.end for start in starts.get(blocking.tid, ())):
            blockings[index] = replace(blocking, on_path=True)


class _Choice:
    """The tasks that were asked for; see `report`."""

    def __init__(self, analysis: Analysis, pids: Collection[int], names: Collection[str]) -> None:
        self._analysis = analysis
        self._pids, self._names = pids, names
        self._known: dict[tuple[Task, str, int], bool] = {}

    def __contains__(self, task: Task) -> bool:
        if not task.entered:
            return False  # a thread of the kernel, or one that made no call
        key = (task, task.comm, task.process)
        chosen = self._known.get(key)
        if chosen is None:
            chosen = self._known[key] = self._is_chosen(task)
        return chosen

    def _is_chosen(self, task: Task) -> bool:
        if self._names and task.comm not in self._names:
            return False
        if not self._pids or task.tid in self._pids:
            return True
        process, seen = task.process, set[int]()
        while process and process not in seen:
            if process in self._pids:
                return True
            seen.add(process)
            parent = self._analysis.find(process, task.since)
            process = parent.parent if parent is not None else 0
        return False


class _Counts:
    """Counts blockings by call and by file descriptor."""

    def __init__(self, result: TraceReport) -> None:
        self._by_syscall, self._by_fd = result.by_syscall, result.by_fd
        self._known: dict[tuple[Task, str, int | None, str], tuple[Statistic, Statistic]] = {}

    def add(self, process: Task, off: Off, duration: int) -> None:
        key = (process, off.syscall, off.fd, off.file)
        both = self._known.get(key)
        if both is None:
            by_syscall = _of(self._by_syscall, process, off.syscall or "(no call)")
            fd = Statistic() if off.fd is None else _of(self._by_fd, process, f"{off.fd} {off.file}".strip())
            both = self._known[key] = by_syscall, fd
        for statistic in both:
            statistic.add(duration)


def _of(statistics: dict[Task, dict[str, Statistic]], process: Task, name: str) -> Statistic:
    return statistics.setdefault(process, {}).setdefault(name, Statistic())


def _spent(path: Path, task: Task, analysis: Analysis) -> dict[str, int]:
    """The durations (ns) of the task's critical path by what they were spent on, the largest first."""
    spent: dict[str, int] = {}
    for step in path.of(task, *_lifetime(task, analysis)):
        what = _what(step, task)
        spent[what] = spent.get(what, 0) + step.duration
    return dict(sorted(spent.items(), key=lambda item: -item[1]))


def _what(step: Step, own: Task) -> str:
    if step.hold is not None:
        return f"packets held by {step.hold.policy}"
    if step.lost is not None:
        return f"packets dropped by {step.lost.by}"
    other = step.task is not None and step.task is not own
    if step.kind == "task" and other:
        return f"waiting for {step.task}, not recorded"
    return WORDS.get(step.kind, f"waiting for {step.kind}") + (f" of {step.task}" if other else "")


WORDS = {
    "running": "running",
    "cpu": "waiting for a CPU",
    "task": "not recorded",
    "before client": "before the client began",
    "retransmission": "waiting for TCP to send again",
    "delayed ack": "waiting for TCP's delayed ACK",
    "pacing": "waiting for TCP's pacing",
    "unknown": "unexplained",
}
