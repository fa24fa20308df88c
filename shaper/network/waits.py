"""Which calls on sockets wait, found by looking at all threads inside again and again: it needs no tracer, and no root.

/proc/PID/task/TID/syscall has the call in which a thread sleeps, see proc_pid_syscall(5); while the thread's run time
stays the same, it is the same call.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass

from shaper.linux import proc
from shaper.trace.read.syscalls import BY_NUMBER, FIRST_IS_FD

INTERVAL = 0.01
"""Seconds between two looks."""
CALLS = """
    accept accept4 connect epoll_pwait epoll_pwait2 epoll_wait poll ppoll pselect6 read readv recvfrom recvmmsg recvmsg
    select sendfile sendmmsg sendmsg sendto splice write writev
"""
ON_SOCKETS = frozenset(CALLS.split())
"""Calls that may wait for the network."""
LOOKS_PER_SEARCH = 10
"""All processes are asked this rarely whether they are inside; those with new numbers each time."""
SHORTEST = 2 * INTERVAL
"""Seconds that a call must wait to be kept."""
MOST = 1000
"""Waits that are kept, the newest."""


@dataclass(frozen=True)
class Wait:
    """A call that waited.

    Attributes:
        task: the name of the thread.
        pid, tid: its process and thread.
        call: the system call.
        since, until: seconds of CLOCK_MONOTONIC.
        seen: when it was seen first, in the same seconds: it began between the look before and this one.
        is_over: it has ended.
    """

    task: str
    pid: int
    tid: int
    call: str
    since: float
    until: float
    seen: float
    is_over: bool

    @property
    def seconds(self) -> float:
        """How long it waited, or has waited so far."""
        return self.until - self.since

    def __str__(self) -> str:
        return f"{self.task}: {self.call} {self.seconds * 1000:.0f} ms{'' if self.is_over else ', and still waits'}"


class Watch:
    """Looks at the threads of processes.

    Args:
        processes: finds those inside; takes the numbers of those that need no look, and adds all that it has seen.
    """

    def __init__(self, processes: Callable[[set[int]], Iterable[int]]) -> None:
        self._processes = processes
        self._main: list[int] = []
        self._pids: list[int] = []
        self._known: set[int] = set()
        self._looks = 0
        self._last = time.monotonic()
        # What each thread does, since when, seen first, seen last.
        self._waiting: dict[tuple[int, int], tuple[str, float, float, float]] = {}
        self._over: list[Wait] = []

    def follow(self, pid: int) -> None:
        """Look at this process from the first look on: it may not be inside yet."""
        self._main = self._pids = [pid]

    def look(self) -> None:
        """Look at all threads once."""
        if self._looks % LOOKS_PER_SEARCH == 0:
            self._known = set(self._main)
            self._pids = list(self._main)
        self._pids += self._processes(self._known)
        self._looks += 1
        before, now = self._last, time.monotonic()
        self._last = now
        seen: dict[tuple[int, int], tuple[str, float, float, float]] = {}
        for pid in self._pids:
            with suppress(OSError):  # it has ended
                for name in os.listdir(f"/proc/{pid}/task"):
                    doing = _doing(pid, name)
                    if doing is not None:
                        key = pid, int(name)
                        known = self._waiting.get(key)
                        if known is not None and known[0] == doing:
                            seen[key] = *known[:3], now
                        else:  # it began some time between two looks, and ends so
                            seen[key] = doing, (before + now) / 2, now, now
        for key, (doing, since, first, last) in self._waiting.items():
            until = (last + now) / 2
            if (key not in seen or seen[key][0] != doing) and until - since >= SHORTEST:
                self._over.append(_wait(key, doing, since, first, until, is_over=True))
        del self._over[:-MOST]
        self._waiting = seen

    def waits(self) -> list[Wait]:
        """The calls that waited, the one that ended first first; at the end those that still wait."""
        still = [_wait(key, *seen, is_over=False) for key, seen in self._waiting.items()]
        return [*self._over, *(wait for wait in still if wait.seconds >= SHORTEST)]


def _wait(key: tuple[int, int], doing: str, since: float, seen: float, until: float, *, is_over: bool) -> Wait:
    call, task, _ = doing.split("\0")
    return Wait(task, *key, call, since, until, seen, is_over)


def _doing(pid: int, tid: str) -> str | None:
    """What tells the call in which a thread sleeps from the one before and after; None if it is not about sockets."""
    folder = f"/proc/{pid}/task/{tid}"
    with open(f"{folder}/syscall", encoding="ascii") as file:
        words = file.read().split()
    if words[0] in ("running", "-1"):
        return None
    call = BY_NUMBER.get(int(words[0]), "")
    if call not in ON_SOCKETS:
        return None
    if call in FIRST_IS_FD and not call.startswith("epoll"):
        with suppress(OSError):
            if not os.readlink(f"/proc/{pid}/fd/{int(words[1], 16)}").startswith("socket:"):
                return None
    with open(f"{folder}/schedstat", encoding="ascii") as file:
        ran = file.read().split()[0]
    return f"{call}\0{proc.comm(pid, int(tid))}\0{ran}"
