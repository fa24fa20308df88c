"""What each CPU is doing on top of its task: a stack of interrupts, softirqs and timers.

A wakeup comes from the top of the stack of the CPU on which it happens or, if that stack
is empty, from the task that runs there. Trace Compass and flightbox do the same.
"""

from __future__ import annotations

from collections.abc import Mapping

from shaper.report.blocking import Kind, Waker
from shaper.trace.analysis.tasks import REMEMBERED, Task
from shaper.trace.read.events import TraceEvent

ENTRIES: dict[str, tuple[Kind, str]] = {
    "softirq_entry": ("softirq", "vec"),
    "irq_handler_entry": ("irq", "irq"),
    "hrtimer_expire_entry": ("hrtimer", "function"),
}
EXITS: dict[str, Kind] = {
    "softirq_exit": "softirq",
    "irq_handler_exit": "irq",
    "hrtimer_expire_exit": "hrtimer",
}
# Where entry or exit were lost or not recorded, the flags of an event still give its context.
FLAGGED = {"h": Waker("irq", "(not recorded)"), "s": Waker("softirq", "(not recorded)")}
IDLE = 0
"""The tid of the idle task."""


class Contexts:
    """The stacks of all CPUs.

    Args:
        known: the tasks of the analysis, by tid.
    """

    def __init__(self, known: Mapping[int, Task]) -> None:
        self._known = known
        self._stacks: dict[int, list[Waker]] = {}
        self._tasks: dict[tuple[int, str], Waker] = {}

    def enter(self, event: TraceEvent) -> None:
        """The CPU enters an interrupt, a softirq or a timer."""
        kind, field = ENTRIES[event.name]
        name = event.fields[field]
        self._stacks.setdefault(event.cpu, []).append(Waker(kind, name if kind != "hrtimer" else _timer(name)))

    def leave(self, event: TraceEvent) -> None:
        """The CPU leaves what it has entered."""
        stack = self._stacks.get(event.cpu)
        kind = EXITS[event.name]
        while stack:
            # For what lies above it, the exit was lost.
            if stack.pop().kind == kind:
                return

    def reset(self, cpu: int) -> None:
        """The scheduler runs on this CPU, so it is in none of these; where something is left, its exit was lost."""
        if self._stacks.get(cpu):
            self._stacks[cpu].clear()

    def forget(self) -> None:
        """Events were lost: what each CPU is in is no longer known."""
        self._stacks.clear()

    def waker(self, event: TraceEvent) -> Waker | None:
        """Where this sched_waking event comes from; None if it is the running task."""
        stack = self._stacks.get(event.cpu)
        if stack:
            return stack[-1]
        # The idle task does nothing on its own.
        return FLAGGED.get(event.fields.get("context", "h" if event.tid == IDLE else ""))

    def is_traced(self, tid: int) -> bool:
        """Whether the calls of this task are recorded; those of the kernel's own threads and of others are not."""
        task = self._known.get(tid)
        return task is not None and task.entered > 0

    def of_task(self, task: Task) -> Waker:
        """The task as a waker; remembered, since the same few tasks wake others again and again."""
        key = (task.tid, task.comm)
        waker = self._tasks.get(key)
        if waker is None:
            if len(self._tasks) >= REMEMBERED:
                self._tasks.clear()
            waker = self._tasks[key] = Waker("task", str(task))
        return waker


def _timer(function: str) -> str:
    """The timer with its function's name; an address would help nobody."""
    return "hrtimer" if not function or function.startswith("0x") else f"hrtimer {function}"
