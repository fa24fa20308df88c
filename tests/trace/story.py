"""Traces written by hand; times in µs, on one CPU unless another is given."""

from typing import Self

from shaper.trace.read.events import TraceEvent
from shaper.units import us


class Story:
    """Collects events; `at` is in µs."""

    def __init__(self) -> None:
        self.events: list[TraceEvent] = []

    def add(self, at: int, tid: int, name: str, cpu: int = 0, **fields: object) -> Self:
        self.events.append(TraceEvent(at * us, cpu, tid, "", name, dict(fields)))
        return self

    def switch(self, at: int, tid: int, state: str, following: int, cpu: int = 0) -> Self:
        """The task leaves the CPU in this state, and another one runs."""
        return self.add(
            at, tid, "sched_switch", cpu, prev_state=state, next_pid=following, next_comm=f"task{following}"
        )

    def wake(self, at: int, tid: int, whom: int, cpu: int = 0, **fields: object) -> Self:
        return self.add(at, tid, "sched_waking", cpu, pid=whom, comm=f"task{whom}", **fields)

    def enter(self, at: int, tid: int, syscall: str, cpu: int = 0, **fields: object) -> Self:
        return self.add(at, tid, "sys_enter", cpu, syscall=syscall, **fields)

    def exit(self, at: int, tid: int, syscall: str, cpu: int = 0, ret: int = 0) -> Self:
        return self.add(at, tid, "sys_exit", cpu, syscall=syscall, ret=ret)
