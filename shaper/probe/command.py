"""Any command in place of a workload: its calls' times come from strace."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from shutil import which
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from shaper.errors import UsageError
from shaper.probe.apart import apart
from shaper.probe.compare import Column, Wait
from shaper.probe.conditions import Condition, prepare
from shaper.probe.urgent import be_urgent
from shaper.units import ms, s

if TYPE_CHECKING:
    from shaper.live.command import Command

THRESHOLD = 10 * ms
"""strace slows calls down, and the command's own processes have no priority."""
# What is no wait for the other side: own children, locks, pauses, terminals and files.
NETWORK = frozenset({
    "accept", "accept4", "connect", "select", "pselect6", "poll", "ppoll", "epoll_wait", "epoll_pwait", "read",
    "recvfrom", "recvmsg", "recvmmsg", "readv", "write", "sendto", "sendmsg", "writev", "sendfile", "close",
})  # fmt: skip


def measure_command(
    condition: Condition, command: Sequence[str], repeat: int, *, seed: str, mtu: int, timeout: int
) -> Column:
    """Run the command so many times under a condition, in a network namespace of its own.

    Raises:
        UsageError: there is no strace, or no such program.
    """
    if which("strace") is None:
        raise UsageError("the times of a command's calls come from strace, which is not installed")
    if which(command[0]) is None:
        raise UsageError(f"there is no program '{command[0]}' to run")
    return apart(partial(_measure, condition, tuple(command), repeat, seed, mtu, timeout))


def _measure(condition: Condition, command: tuple[str, ...], repeat: int, seed: str, mtu: int, timeout: int) -> Column:
    import trio

    from shaper.live import private

    be_urgent()
    inside = private.enter(mtu)
    condition = prepare(condition)
    waits = []
    with TemporaryDirectory(prefix="shaper-compare-") as directory:
        Path(directory).chmod(0o777)
        for number in range(repeat):
            log = Path(directory, f"{number}.strace")
            traced = ["strace", "-f", "-ttt", "-T", "-yy", "-o", str(log), *command]
            with open("/dev/null", "w") as nowhere:
                child = inside.spawn_inside(traced, stdout=nowhere.fileno())
            trio.run(_run, child, condition, seed, timeout)
            waits.append(read_waits(log))
    return Column(condition, waits)


async def _run(child: Command, condition: Condition, seed: str, timeout: int) -> None:
    """Let the command run to its end, or for so long (ns), on a path of this condition."""
    import trio

    from shaper.failure import Failure, PoliciesFailed
    from shaper.live.nursery import ungrouped
    from shaper.live.rules import Match
    from shaper.live.session import Settings, shape
    from shaper.load import load_pipeline

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

    try:
        with ungrouped():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(run)
                if condition.policies:
                    settings = Settings(
                        load_pipeline(condition.policies), Match("lo"), specs=condition.policies, seed=seed
                    )
                    await shape(settings, started=lambda _: started.set(), failed=failures.append, stop=stop)
                else:
                    started.set()
                    await stop.wait()
                nursery.cancel_scope.cancel()
    finally:
        # Not before: while packets are shaped, the guardian and its iptables are in this namespace too.
        _end_all()
    if not ended:
        await child.wait()
    if failures:
        raise PoliciesFailed(failures)


def _end_all() -> None:
    """End what the command has left behind: all other processes in this network namespace, which is ours alone."""
    own = os.stat("/proc/self/ns/net").st_ino
    for entry in os.scandir("/proc"):
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with suppress(OSError):  # it has ended by itself, or is not ours to look at
                if os.stat(f"/proc/{entry.name}/ns/net").st_ino == own:
                    os.kill(int(entry.name), signal.SIGKILL)


def read_waits(log: Path) -> list[Wait]:
    """The calls in a strace log that may have waited for the network, in order.

    Processes are told apart by name; the second "nc" is "nc 2".
    """
    from shaper.trace.strace import read_strace

    begun: dict[int, tuple[str, int]] = {}
    names: dict[int, str] = {}
    waits: list[tuple[int, str, int]] = []
    for event in read_strace(log):
        names[event.tid] = event.comm
        if event.name == "sys_enter":
            begun[event.tid] = event.fields["syscall"], event.at
        elif event.name == "sys_exit" and event.tid in begun:
            syscall, start = begun.pop(event.tid)
            if syscall in NETWORK:
                waits.append((event.tid, syscall, event.at - start))
    titles = _titles(names)
    return [
        Wait(role="", task=titles[tid], syscall=syscall, waited_for="", duration=each) for tid, syscall, each in waits
    ]


def _titles(names: dict[int, str]) -> dict[int, str]:
    counts: dict[str, int] = {}
    titles = {}
    for tid in sorted(names):
        name = names[tid]
        counts[name] = counts.get(name, 0) + 1
        titles[tid] = name if counts[name] == 1 else f"{name} {counts[name]}"
    return titles
