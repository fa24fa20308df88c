"""What each CPU was doing beside its task: the stack of interrupts, softirqs and timers.

A task is woken by what is on top of that stack on the CPU of the waking, or, where it
is empty, by the task that runs there. Trace Compass and flightbox do the same.
"""

from __future__ import annotations

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
# The flags of an event tell in which context it came, where entry or exit were lost or not recorded.
FLAGGED = {"h": Waker("irq", "(not recorded)"), "s": Waker("softirq", "(not recorded)")}
IDLE = 0


class Contexts:
    """The stacks of all CPUs."""

    def __init__(self) -> None:
        self._stacks: dict[int, list[Waker]] = {}
        self._tasks: dict[tuple[int, str], Waker] = {}

    def enter(self, event: TraceEvent) -> None:
        kind, field = ENTRIES[event.name]
        name = event.fields[field]
        self._stacks.setdefault(event.cpu, []).append(Waker(kind, name if kind != "hrtimer" else _timer(name)))

    def leave(self, event: TraceEvent) -> None:
        stack = self._stacks.get(event.cpu)
        kind = EXITS[event.name]
        while stack:
            # What lies above lost its exit.
            if stack.pop().kind == kind:
                return

    def reset(self, cpu: int) -> None:
        """The scheduler runs on this CPU, so nothing of this is under way; whatever is left lost its exit."""
        if self._stacks.get(cpu):
            self._stacks[cpu].clear()

    def forget(self) -> None:
        """Events were lost."""
        self._stacks.clear()

    def waker(self, event: TraceEvent) -> Waker | None:
        """What wakes in this sched_waking event; None if the running task does."""
        stack = self._stacks.get(event.cpu)
        if stack:
            return stack[-1]
        # The idle task does nothing of itself.
        return FLAGGED.get(event.fields.get("context", "h" if event.tid == IDLE else ""))

    def of_task(self, task: Task) -> Waker:
        """The task as a waker. The same ones wake others again and again."""
        key = (task.tid, task.comm)
        waker = self._tasks.get(key)
        if waker is None:
            if len(self._tasks) >= REMEMBERED:
                self._tasks.clear()
            waker = self._tasks[key] = Waker("task", str(task))
        return waker


def _timer(function: str) -> str:
    """Its function's name; an address says nothing to anybody."""
    return "hrtimer" if not function or function.startswith("0x") else f"hrtimer {function}"
