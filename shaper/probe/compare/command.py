"""A command under a condition: its calls' times come from the kernel's tracer, or from strace."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from shaper.linux import programs
from shaper.probe.compare.apart import apart
from shaper.probe.compare.conditions import Condition, prepare
from shaper.probe.compare.rows import Column, Wait
from shaper.probe.ends.realtime import set_realtime
from shaper.trace.analysis.analysis import Analysis
from shaper.trace.analysis.tasks import Task
from shaper.trace.read.events import TraceEvent
from shaper.trace.read.source import read_trace
from shaper.trace.tracing import Tracing
from shaper.units import ms, s

if TYPE_CHECKING:
    from shaper.linux.command import Command

THRESHOLD = 10 * ms
"""A call that waits less than this (ns) has not waited: strace slows calls down, and a command has no priority."""
# The calls that may wait for the other side. Others wait for children, locks, pauses, terminals or files.
NETWORK = frozenset({
    "accept", "accept4", "connect", "select", "pselect6", "poll", "ppoll", "epoll_wait", "epoll_pwait", "read",
    "recvfrom", "recvmsg", "recvmmsg", "readv", "write", "sendto", "sendmsg", "writev", "sendfile", "close",
})  # fmt: skip


def measure_command(
    condition: Condition, command: Sequence[str], repeat: int, *, seed: str, mtu: int, timeout: int
) -> Column:
    """Run the command under a condition, in a network namespace of its own.

    Args:
        repeat: how many runs.
        mtu: of lo, in bytes.
        timeout: the longest that a run may take, in ns.

    Raises:
        ProgramError: there is no such program, or it can't be run.
        TraceError: nothing here can trace it.
    """
    programs.check(command[0])
    return apart(partial(_measure, condition, tuple(command), repeat, seed, mtu, timeout))


def _measure(condition: Condition, command: tuple[str, ...], repeat: int, seed: str, mtu: int, timeout: int) -> Column:
    import trio

    from shaper.linux import namespace

    set_realtime()
    inside = namespace.enter(mtu)
    condition = prepare(condition)
    waits, times_from = [], ""
    with TemporaryDirectory(prefix="shaper-compare-") as directory:
        for number in range(repeat):
            where = Path(directory, str(number))
            where.mkdir()
            tracing = Tracing(command, where)
            times_from = _describe(tracing)
            with open("/dev/null", "w") as nowhere:
                child = inside.spawn_inside(tracing.command, stdout=nowhere.fileno())
            try:
                with tracing.of(child.pid):
                    ended = trio.run(_run, child, condition, seed, timeout)
            finally:
                # Only now: the guardian with its iptables and the recorder are in this namespace too.
                _end_all()
            if not ended:
                trio.run(child.wait)
            waits.append(read_waits(tracing.trace))
    return Column(condition, waits, times_from=times_from)


def _describe(tracing: Tracing) -> str:
    if tracing.why_strace is None:
        return "the kernel's tracer"
    return f"strace, which slows the command down ({tracing.why_strace})"


async def _run(child: Command, condition: Condition, seed: str, timeout: int) -> bool:
    """Let the command run under this condition, at most for the timeout (ns). Returns whether it ended by itself."""
    import trio

    from shaper.core.failure import Failure, PoliciesFailed
    from shaper.live.nursery import ungrouped
    from shaper.live.rules.rules import Match
    from shaper.live.session import Settings, shape
    from shaper.spec.load import load_pipeline

    failures: list[Failure] = []
    started, stop = trio.Event(), trio.Event()
    ended = False

    async def run() -> None:
        nonlocal ended
        await started.wait()
        child.release()
        with trio.move_on_after(timeout / s):
            await child.wait()
            ended = True
        stop.set()

    with ungrouped():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run)
            if condition.policies:
                settings = Settings(
                    load_pipeline(condition.policies),
                    Match("lo"),
                    specs=condition.policies,
                    scenario=condition.scenario,
                    seed=seed,
                )
                await shape(settings, started=lambda _: started.set(), failed=failures.append, stop=stop)
            else:
                started.set()
                await stop.wait()
            nursery.cancel_scope.cancel()
    if failures:
        raise PoliciesFailed(failures)
    return ended


def _end_all() -> None:
    """End what the command left behind: all other processes in this network namespace, which is ours alone."""
    own = os.stat("/proc/self/ns/net").st_ino
    for entry in os.scandir("/proc"):
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with suppress(OSError):  # it has ended by itself, or is not ours to look at
                if os.stat(f"/proc/{entry.name}/ns/net").st_ino == own:
                    os.kill(int(entry.name), signal.SIGKILL)


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
