"""The numbers of tasks in a PID namespace, such as a container's, for a trace that was recorded there.

The kernel's events have the numbers of the first PID namespace. There, `ps`, /proc and all system calls have others:
fork(2) and clone(2) return the child's number as the caller sees it. So a recording holds both numbers of the tasks
that ran when it began, and of each task that was started since, the event of its start has the one, and the end of
its parent's call the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress

from shaper.trace.read.events import TraceError, TraceEvent
from shaper.trace.read.ring import Decode, Field, reader

CLONE_NEWPID = 0x2000_0000  # include/uapi/linux/sched.h
STARTING = frozenset(("clone", "clone3", "fork", "vfork"))
OF_TASKS = ("pid", "next_pid", "child_pid")
"""The fields of events that hold a task's number."""


def of_forks(
    formats: Mapping[str, tuple[int, Mapping[str, Field]]], calls: Mapping[int, str]
) -> dict[int, tuple[str, Decode]]:
    """What decodes those events alone from which `Numbers` learns; see `decoders`."""
    kinds: dict[int, tuple[str, Decode]] = {}
    if "task_newtask" in formats:
        number, fields = formats["task_newtask"]
        started = reader(fields, "pid", "clone_flags")
        kinds[number] = "started", lambda page, at: dict(zip(("pid", "flags"), started(page, at), strict=True))
    number, fields = formats["sys_enter"]
    first = fields["args"]._replace(size=8, kind="int", signed=False)
    entered = reader({"id": fields["id"], "first": first}, "id", "first")

    def enter(page: bytes, at: int) -> dict[str, object]:
        call, first = entered(page, at)
        return {"call": calls.get(call), "first": first}

    kinds[number] = "entered", enter
    number, fields = formats["sys_exit"]
    left = reader(fields, "id", "ret")

    def leave(page: bytes, at: int) -> dict[str, object]:
        call, result = left(page, at)
        return {"call": calls.get(call), "result": result}

    kinds[number] = "left", leave
    return kinds


class Numbers:
    """The number that a task has in the namespace, for the number that the kernel's events give it.

    A task that is not known there, because it runs outside or in another namespace, has the kernel's number, negative.

    Args:
        given: of the tasks that ran when the recording began: the kernel's number -> that in the namespace.
        forks: the events that `of_forks` decodes, in order.
    """

    def __init__(self, given: Mapping[int, int], forks: Iterable[TraceEvent]) -> None:
        self._here = {0: 0, **given}
        with suppress(TraceError):  # those who read all of it are told
            self._learn(forks)

    def __call__(self, number: int) -> int:
        return self._here.get(number, -number)

    def translated(self, events: list[TraceEvent]) -> list[TraceEvent]:
        """These events, with the numbers of the namespace."""
        for event in events:
            for name in OF_TASKS:
                if name in event.fields:
                    event.fields[name] = self(event.fields[name])
        return [event._replace(tid=self(event.tid)) for event in events]

    def _learn(self, forks: Iterable[TraceEvent]) -> None:
        started: dict[int, int] = {}  # by whom: the child whose start was the last thing that happened in a call
        leaving: set[int] = set()  # tasks whose further children are in a namespace of their own
        within: set[int] = set()  # tasks of such a namespace
        for event in forks:
            task, fields = event.tid, event.fields
            if event.name == "started":
                started[task] = fields["pid"]
                if task in within or task in leaving or fields["flags"] & CLONE_NEWPID:
                    within.add(fields["pid"])
            elif event.name == "entered":
                if fields["call"] == "unshare" and fields["first"] & CLONE_NEWPID:
                    leaving.add(task)
            else:
                child = started.pop(task, None)
                if child is not None and fields["call"] in STARTING and fields["result"] > 0 and task not in within:
                    self._here[child] = fields["result"]
