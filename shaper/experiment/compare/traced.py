"""The calls of a command that was traced, by the kernel or by strace."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from shaper.experiment.compare.rows import Wait
from shaper.trace.analysis.analysis import Analysis
from shaper.trace.analysis.tasks import Task
from shaper.trace.read.events import TraceEvent
from shaper.trace.read.source import read_trace
from shaper.units import ms

THRESHOLD = 10 * ms
"""A call that waits less than this (ns) has not waited: strace slows calls down, and a command has no priority."""
# The calls that may wait for the other side. Others wait for children, locks, pauses, terminals or files.
NETWORK = frozenset({
    "accept", "accept4", "connect", "select", "pselect6", "poll", "ppoll", "epoll_wait", "epoll_pwait", "read",
    "recvfrom", "recvmsg", "recvmmsg", "readv", "write", "sendto", "sendmsg", "writev", "sendfile", "close",
})  # fmt: skip


def read_waits(trace: Path) -> list[Wait]:
    """The calls in a trace that may have waited for the network, in order.

    A process has its name; the second "nc" is "nc 2".
    """
    analysis = Analysis()
    begun: dict[int, tuple[str, int]] = {}
    found: list[tuple[Task, str, int]] = []

    def enter(event: TraceEvent) -> None:
        begun[event.tid] = event.fields["syscall"], event.at

    def leave(event: TraceEvent) -> None:
        syscall, start = begun.pop(event.tid, ("", 0))
        if syscall in NETWORK:
            found.append((analysis.tasks[event.tid], syscall, event.at - start))

    analysis.observe("sys_enter", enter)
    analysis.observe("sys_exit", leave)
    for _ in analysis.run(read_trace(trace)):
        pass
    titles = _titles([*analysis.exited, *analysis.tasks.values()])
    return [
        Wait(role="", task=titles[task], syscall=syscall, waited_for="", duration=duration)
        for task, syscall, duration in found
    ]


def _titles(tasks: Iterable[Task]) -> dict[Task, str]:
    counts: Counter[str] = Counter()
    titles = {}
    for task in sorted((task for task in tasks if task.entered), key=lambda task: (task.since, task.tid)):
        counts[task.comm] += 1
        titles[task] = task.comm if counts[task.comm] == 1 else f"{task.comm} {counts[task.comm]}"
    return titles
