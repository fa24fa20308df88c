"""Event loops: time-outs of a call that is made again at once are parts of one wait.

A program that waits for an answer may call poll(2) with a time-out, find nothing, and call
it again. What ended the last of these calls is what the program waited for all the time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from shaper.trace.analysis.tasks import Off, Task
from shaper.units import ms

CALLS = frozenset({"poll", "ppoll", "select", "pselect6", "epoll_wait", "epoll_pwait", "epoll_pwait2"})
AT_ONCE = 10 * ms
"""A call is made again if it sleeps again within this time (ns); a loop may do some work between its calls."""


def joined(sleeps: Iterable[tuple[Task, Off]]) -> Iterator[tuple[Task, Off]]:
    """The sleeps of all tasks; those that belong to one wait are one, which begins with the first of them.

    They do if all but the last one timed out, and if the task sent no packet in between: then it acted on the time-out.
    """
    timed_out: dict[Task, Off] = {}
    for task, off in sleeps:
        before = timed_out.pop(task, None)
        if before is not None:
            if _goes_on(before, off, task):
                off = replace(off, start=before.start, timeouts=before.timeouts + 1)
            else:
                yield task, before
        if off.end >= 0 and off.syscall in CALLS and off.waker is not None and off.waker.kind == "hrtimer":
            timed_out[task] = off
        else:
            yield task, off
    yield from timed_out.items()


def _goes_on(before: Off, off: Off, task: Task) -> bool:
    """Whether the task went on with the same wait after a time-out."""
    same = (off.syscall, off.fd) == (before.syscall, before.fd)
    return same and off.start - before.end <= AT_ONCE and task.sent < before.start
