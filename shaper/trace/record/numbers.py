"""The numbers that the kernel's events give to tasks, learned inside a PID namespace.

The kernel compares the numbers in set_event_pid with those of the first PID namespace, and no file of /proc shows them
inside another one. But whoever writes to /proc/PID/task/TID/oom_score_adj causes an event that has the number of that
task. The value that is written is the one that is there already.

Source: kernel/trace/trace_events.c, event_pid_write; fs/proc/base.c, __set_oom_adj; include/trace/events/oom.h.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress

from shaper.linux import proc
from shaper.linux.capabilities import CAP_SYS_RESOURCE, give_up
from shaper.trace.read.events import TraceError, TraceEvent
from shaper.trace.read.ring import Decode, read_format, read_page, reader
from shaper.trace.record.tracefs import Instance

EVENT = "oom/oom_score_adj_update"
MARK = "ftrace/print"


def given_numbers(instance: Instance) -> dict[int, int]:
    """The kernel's number -> the one here, of all threads that are seen here.

    Args:
        instance: no event of it is enabled yet, and its buffers are empty.

    Raises:
        TraceError: they can't be learned.
    """
    if not instance.enable([EVENT]):
        raise TraceError(f"this kernel can't trace {EVENT}, which finds tasks in a PID namespace; use --pid=host")
    instance.write("tracing_on", "1")
    try:
        written = _in_child(instance)
    finally:
        instance.write("tracing_on", "0")
        instance.write(f"events/{EVENT}/enable", "0")
    events = list(_events(instance))
    # Others may write to such files too, but nobody else marks this instance.
    writers = {event.tid for event in events if event.name == "mark"}
    numbers = [event.fields["pid"] for event in events if event.name == "written" and event.tid in writers]
    if len(numbers) != len(written):
        raise TraceError("the kernel's numbers of the tasks in this PID namespace can't be learned; please try again")
    return dict(zip(numbers, written, strict=True))


def _in_child(instance: Instance) -> list[int]:
    """Write to the files of all threads, in a process that may not lower what a later write may choose.

    Returns the threads, in order.
    """
    results, sink = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            give_up(CAP_SYS_RESOURCE)  # with it, the value would become the least that the task may choose itself
            instance.write("trace_marker", "shaper")
            written = []
            for tid in proc.tasks():
                with suppress(OSError):  # it has ended, or is somebody else's
                    _write(tid)
                    written.append(tid)
            os.write(sink, json.dumps(written).encode())
        finally:
            os._exit(0)
    os.close(sink)
    with open(results) as file:
        said = file.read()
    os.waitpid(pid, 0)
    found: list[int] = json.loads(said or "[]")
    return found


def _write(tid: int) -> None:
    with open(f"/proc/{tid}/oom_score_adj", "r+b", buffering=0) as file:
        value = file.read()
        file.seek(0)
        file.write(value)


def _events(instance: Instance) -> list[TraceEvent]:
    """The events so far, in order."""
    kinds: dict[int, tuple[str, Decode]] = {}
    number, _ = read_format(instance.format(MARK))
    kinds[number] = "mark", lambda page, at: {}
    number, fields = read_format(instance.format(EVENT))
    read = reader(fields, "pid")
    kinds[number] = "written", lambda page, at: {"pid": read(page, at)[0]}
    events: list[TraceEvent] = []
    for cpu in instance.cpus():
        pipe = instance.open_pipe(cpu)
        try:
            with suppress(BlockingIOError):
                while page := os.read(pipe, os.sysconf("SC_PAGE_SIZE")):
                    events += read_page(page, cpu, kinds)
        finally:
            os.close(pipe)
    return sorted(events, key=lambda event: event.at)
