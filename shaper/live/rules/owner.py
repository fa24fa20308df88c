"""Whose rules these are: the owner that each rule of shaper's names, and whether it is still alive."""

from __future__ import annotations

import os
import re
from typing import NamedTuple

from shaper.linux import proc


class Owner(NamedTuple):
    """The queue and the process that a rule belongs to, as in its comment `shaper:QUEUE:PID:START:NAMESPACE`.

    Attributes:
        queue: the number of the queue.
        pid: the process.
        start: when it started, in clock ticks since boot (see proc(5), /proc/pid/stat), so that a process that got
            the same number later isn't taken for it.
        namespace: the inode of the PID namespace that `pid` belongs to.
    """

    queue: int
    pid: int
    start: int
    namespace: int

    @classmethod
    def here(cls, queue: int) -> Owner:
        """This process as the owner of a queue."""
        return cls(queue, os.getpid(), _start(os.getpid()) or 0, proc.pid_namespace())

    @classmethod
    def named_in(cls, rule: str) -> Owner | None:
        """The owner that a rule of iptables-save(8) names; None if the rule isn't shaper's."""
        found = re.search(r'--comment "?shaper:(\d+):(\d+):(\d+):(\d+)\b', rule)
        return cls(*map(int, found.groups())) if found else None

    @classmethod
    def unnamed(cls, queue: int, pid: int) -> Owner:
        """The owner of a chain of which only the name is left: the process that has this number now."""
        return cls(queue, pid, _start(pid) or 0, proc.pid_namespace())

    def __str__(self) -> str:
        return f"shaper:{self.queue}:{self.pid}:{self.start}:{self.namespace}"

    @property
    def chain(self) -> str:
        """The name of the chain that holds its rules."""
        return f"shaper-{self.queue}-{self.pid}"

    @property
    def output_chain(self) -> str:
        """The name of the chain that holds its rules for what goes out, if there are any."""
        return f"{self.chain}-out"

    @property
    def chains(self) -> tuple[str, str]:
        """Both names."""
        return self.chain, self.output_chain

    def alive(self) -> bool | None:
        """Whether the process still runs; None if it is in another PID namespace, so that nobody here knows."""
        if self.namespace != proc.pid_namespace():
            return None
        return _start(self.pid) == self.start


def _start(pid: int) -> int | None:
    """When a process started, in clock ticks since boot; None if there is none, or only a zombie is left."""
    try:
        stat = proc.stat(pid)
    except OSError:
        return None
    return None if stat.has_ended else stat.start
