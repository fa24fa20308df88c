"""Tasks as the analysis knows them: which call they are in, when they were off the CPU, and why."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field

from shaper.report.blocking import Waker

# For each task, this many of its last intervals off the CPU are remembered: critical paths lead through them.
REMEMBERED = 10_000
# A wakeup on another CPU may be recorded up to this long (ns) before the switch that puts the task to sleep.
RACE = 1_000_000


@dataclass(slots=True)
class Off:
    """One interval in which a task was off the CPU.

    Attributes:
        start: when it was switched out, in ns.
        woken: when it was woken; `start` if it was preempted.
        end: when it ran again; -1 while it is off.
        state: "R" if it was preempted; otherwise how it slept (ps(1)).
        syscall, fd, file: the call it was in.
        waker: what woke it.
        by: the task that was running where the wakeup happened, whatever the context; -1 if none was seen.
        sent_by: that task had just sent a packet in its call, and the softirq received it (loopback).
        timeouts: how often the call timed out and was made again, if this is a wait of an event loop (see `loops`).
    """

    start: int
    woken: int
    end: int
    state: str
    syscall: str = ""
    fd: int | None = None
    file: str = ""
    waker: Waker | None = None
    by: int = -1
    sent_by: bool = False
    timeouts: int = 0

    @property
    def slept(self) -> bool:
        """Whether it slept; otherwise it was preempted."""
        return self.state != "R"

    @property
    def by_task(self) -> bool:
        """Whether a task woke it, by itself or by a packet it sent."""
        return self.sent_by or (self.waker is not None and self.waker.kind == "task")


@dataclass(slots=True, eq=False)
class Task:
    """One thread.

    Attributes:
        since: the time of its first event, in ns.
        until: the time of its exit, or of its last event.
        process: the id of its process; its own tid until more is known.
        parent: the process that started it; 0 if unknown.
        syscall, fd, entered: the call that it is in, the file descriptor that the call is about, and since when (ns);
            `syscall` is "" outside of calls, `entered` is 0 until the first one.
        role: "server" if it accepts connections, "client" if it opens them.
        off: the interval in which it is off the CPU now.
        past: the last ones that are over (see REMEMBERED).
        running: since when it runs, in ns; -1 if it doesn't.
        cpu: how long it has run, in ns.
        forked_by: the task that started it, if that was seen.
        followed: its scheduling is recorded. A recorder that follows some tasks also has events in which others appear.
        sent: when it last sent a packet, in ns.
        early: a wakeup that came while it was not known to sleep: its time, what woke, and `Off.by`.
    """

    tid: int
    comm: str
    since: int
    until: int = 0
    process: int = 0
    parent: int = 0
    syscall: str = ""
    fd: int | None = None
    entered: int = 0
    role: str = ""
    off: Off | None = None
    past: list[Off] = field(default_factory=list)
    running: int = -1
    cpu: int = 0
    sent: int = -1
    forked_by: Task | None = None
    followed: bool = False
    early: tuple[int, Waker | None, int] | None = None

    def __str__(self) -> str:
        return f"{self.comm or '?'}[{self.tid}]"

    def last_off(self, before: int) -> Off | None:
        """The last interval off the CPU that ended by this time (ns); None if there is none."""
        past = self.past
        for index in range(len(past) - 1, max(len(past) - 4, -1), -1):
            if past[index].end <= before:
                return past[index]
        index = bisect_right(past, before, key=lambda off: off.end)
        return past[index - 1] if index else None

    def remember(self, off: Off) -> None:
        """Add an interval to `past`, unless it took no time."""
        if off.end <= off.start:
            return
        self.past.append(off)
        if len(self.past) > 2 * REMEMBERED:
            del self.past[:REMEMBERED]
