"""What one task's CPU did, as spans of time with a cause each: from the kernel's events and the task's own reports."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from shaper.trace.read.events import TraceEvent

TAKING, WRITING, TURNING = "takes packets", "writes verdicts", "goes to sleep or wakes up"
DECIDING = "decides, watches the clock"
WORK = {TAKING, WRITING, TURNING, DECIDING}
"""What the engine does for packets. All other causes keep it from that."""
CALLS = {"recvmmsg": TAKING, "write": WRITING, "ppoll": TURNING}
WAITS = {"ppoll", "poll", "epoll_wait", "epoll_pwait", "epoll_pwait2"}
ASLEEP = "asleep, as it chose"
TIMER = "its timer came late, nothing ran"
IDLE = "woken, but nothing ran yet"
STOLEN = "the hypervisor took the CPU"
FAULT = "page fault"
COLLECTOR = "Python's collector"
TRIO = "trio's turn"
COUNTING = "counts holds"
UNKNOWN = "not traced"
LONGEST_FAULT = 10_000
"""A page fault of whose end the kernel says nothing counts to the next event, and this time (ns) at most."""
LEAST_STOLEN = 20_000
"""The shortest time (ns) that counts as taken by the hypervisor: clocks are read at slightly different moments."""


PROGRAM = "program "
"""How the name of a task begins that is neither shaper's nor the kernel's."""
INTERRUPTS = ("interrupt ", "softirq ")


class Span(NamedTuple):
    """What the CPU did from one time (ns) to another."""

    begin: int
    end: int
    cause: str


class Cpu:
    """What the engine and its CPU do at a time, and who has the CPU in its place.

    Args:
        tid: the engine's thread.
        cpu: its CPU.
        names: of tasks by number; others are programs, and have the names that the kernel knows.
    """

    def __init__(self, tid: int, cpu: int, names: Mapping[int, str]) -> None:
        self._tid, self._cpu, self._names = tid, cpu, names
        self._known = self._running = self._woken = False
        self._woken_early = False  # just before it left the CPU
        self._other = ""  # who has the CPU; empty if nobody
        self._call = ""  # the engine's system call
        self._interrupts: list[str] = []
        self._fault = self._fault_counted = False
        self._timers: dict[int, int] = {}  # of the engine, and when they expire
        self._task = ""  # trio's task that runs if it isn't the engine's
        self._collecting = self._counting = False
        self._last = 0  # until when spans were given
        self._counted: int | None = None  # until when the scheduler has counted the engine's CPU time
        self._uncounted: list[Span] = []  # while it ran since then

    def spans(self, events: Iterable[TraceEvent]) -> Iterator[Span]:
        """The spans between the events, which are in order of time, without gaps."""
        for event in events:
            for span in self._until(event):
                if self._running:
                    self._uncounted.append(span)
                else:
                    yield span
            self._last = event.at
            yield from self._see(event)
        yield from self._uncounted

    def _until(self, event: TraceEvent) -> Iterator[Span]:
        begin, end = self._last, event.at
        if not self._known or begin == end:
            return
        if self._fault and event.name != "count_memcg_events":
            if not self._fault_counted:
                middle = min(end, begin + LONGEST_FAULT)
                yield Span(begin, middle, FAULT)
                begin = middle
            self._fault = False
        due = min(self._timers.values(), default=end)
        if not self._running and not self._woken and begin < due:
            middle = min(due, end)
            yield Span(begin, middle, self._asleep())
            begin = middle
        if begin < end:
            yield Span(begin, end, self._cause())

    def _asleep(self) -> str:
        """Why the engine sleeps, before any timer has woken it."""
        if not self._call:
            return FAULT
        return ASLEEP if self._call in WAITS else f"asleep in {self._call}"

    def _cause(self) -> str:
        if self._interrupts:
            return self._interrupts[-1]
        if not self._running:
            return f"{self._other} had the CPU" if self._other else IDLE if self._woken else TIMER
        if self._fault:
            return FAULT
        if self._collecting:
            return COLLECTOR
        if self._counting or self._task:
            return COUNTING if self._counting else self._task
        return CALLS.get(self._call, f"system call {self._call}") if self._call else DECIDING

    def _see(self, event: TraceEvent) -> Iterator[Span]:
        name, fields = event.name, event.fields
        if name == "step":
            self._task = fields["task"]
        elif name == "collection":
            self._collecting = fields["begins"]
        elif name == "counting":
            self._counting = fields["begins"]
        elif name == "sched_waking":
            if fields["pid"] == self._tid:
                self._woken, self._woken_early = not self._running, self._running
                self._timers = {timer: expires for timer, expires in self._timers.items() if expires > event.at}
        elif name == "sched_stat_runtime":
            if fields["pid"] == self._tid:
                yield from self._count(event.at, fields["runtime"])
        elif event.cpu != self._cpu:
            return
        elif name == "sched_switch":
            yield from self._switch(event)
        elif name == "hrtimer_cancel" or (name == "hrtimer_expire_entry" and self._running):
            self._timers.pop(fields["hrtimer"], None)
        elif name.endswith(("_entry", "_exit")) and not name.startswith(("sys_", "hrtimer_")):
            self._interrupt(name, fields)
        elif event.tid == self._tid:
            self._do(name, fields)

    def _do(self, name: str, fields: Mapping[str, Any]) -> None:
        """What the engine itself does."""
        self._known = self._running = True
        if name == "sys_enter":
            self._call, self._woken_early = fields["syscall"], False
        elif name == "sys_exit":
            self._call = ""
        elif name == "page_fault_user":
            self._fault, self._fault_counted = True, False
        elif name == "count_memcg_events":
            self._fault_counted = True
        elif name == "hrtimer_start" and "context" not in fields:
            self._timers[fields["hrtimer"]] = fields["expires"]

    def _switch(self, event: TraceEvent) -> Iterator[Span]:
        fields = event.fields
        yield from self._uncounted
        self._uncounted.clear()
        if event.tid == self._tid:
            self._woken = fields["prev_state"] == "R" or self._woken_early
            self._woken_early = False
        self._known, self._running = True, fields["next_pid"] == self._tid
        self._counted = event.at if self._running else None
        following = fields["next_pid"]
        self._other = self._names.get(following, f"{PROGRAM}{fields['next_comm']}") if following else ""
        self._interrupts.clear()

    def _interrupt(self, name: str, fields: Mapping[str, Any]) -> None:
        kind, _, end = name.rpartition("_")
        if end == "exit":
            del self._interrupts[-1:]
        elif kind == "softirq":
            self._interrupts.append(f"softirq {fields['vec']}")
        else:
            # A device's name follows its number.
            self._interrupts.append(f"interrupt {fields['irq'].partition(' ')[2] if 'irq' in fields else kind}")

    def _count(self, at: int, runtime: int) -> Iterator[Span]:
        """The spans since the scheduler last counted; what it doesn't count goes to the longest of them.

        The scheduler counts no time in which the hypervisor ran others (steal time), and the trace has no event of it.
        """
        interrupted = sum(span.end - span.begin for span in self._uncounted if span.cause.startswith(INTERRUPTS))
        stolen = 0 if self._counted is None else at - self._counted - runtime - interrupted
        while stolen > LEAST_STOLEN:
            nth = max(range(len(self._uncounted)), key=lambda nth: length(self._uncounted[nth]), default=-1)
            if nth < 0 or self._uncounted[nth].cause == STOLEN:
                break
            begin, end, cause = self._uncounted[nth]
            middle = max(begin, end - stolen)
            self._uncounted[nth : nth + 1] = [Span(begin, middle, cause), Span(middle, end, STOLEN)]
            stolen -= end - middle
        yield from (span for span in self._uncounted if length(span))
        self._uncounted.clear()
        self._counted = at


def length(span: Span) -> int:
    """How long it lasted (ns)."""
    return span.end - span.begin
