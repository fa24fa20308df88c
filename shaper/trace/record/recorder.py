"""The recorder: the kernel's events of some processes, from tracefs to a directory.

It uses two instances of its own. One follows the processes: scheduler, system calls. The
other has what surrounds a wakeup, on all CPUs and whatever runs there: interrupts,
softirqs, timers, packets queued. A filter by process would hide what happens while idle.

A second process empties the buffers (see `copier`), so that a shaper that runs in this
process is not disturbed. It also cleans up if this process is killed.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType

from shaper.linux import proc
from shaper.trace.read.events import TraceError
from shaper.trace.record.numbers import given_numbers
from shaper.trace.record.snapshot import threads
from shaper.trace.record.tracefs import Instance, Tracefs
from shaper.verbose import detail

OF_TASKS = (
    "sched/sched_switch", "sched/sched_waking", "sched/sched_process_exit", "task/task_newtask",
    "raw_syscalls/sys_enter", "raw_syscalls/sys_exit",
)  # fmt: skip
OF_KERNEL = (
    "irq/irq_handler_entry", "irq/irq_handler_exit", "irq/softirq_entry", "irq/softirq_exit",
    "timer/hrtimer_expire_entry", "timer/hrtimer_expire_exit", "net/net_dev_queue", "sock/inet_sock_set_state",
)  # fmt: skip
NEEDED = ("sched/sched_switch", "sched/sched_waking", "raw_syscalls/sys_enter", "raw_syscalls/sys_exit")
BUFFER_KB = 8192
"""The size of a buffer, one for each CPU and instance."""


class TraceRecorder:
    """Records while it is entered. However it is left, nothing stays under tracefs.

    Args:
        directory: for the recording; it exists and is empty.
        pids: the processes to record, with all their threads and descendants, present and future.

    Raises:
        TraceError: tracing is not possible here; one line says why.
    """

    def __init__(self, directory: Path, pids: Iterable[int]) -> None:
        self._directory = directory
        self._pids = tuple(pids)
        self._instances: dict[str, Instance] = {}

    def __enter__(self) -> TraceRecorder:
        self._tracefs = Tracefs()
        try:
            self._tracefs.remove_leftovers()
            tasks, kernel = self._make("tasks"), self._make("kernel")
            numbers = given_numbers(kernel) if proc.in_pid_namespace() else None
            tasks.follow(threads(self._pids) if numbers is None else _given(threads(self._pids), numbers))
            enabled = {"tasks": tasks.enable(OF_TASKS), "kernel": kernel.enable(OF_KERNEL)}
            lacking = [event for event in NEEDED if event not in enabled["tasks"]]
            if lacking:
                raise TraceError(f"this kernel can't trace {', '.join(lacking)}, which the analysis of blockings needs")
            for instance in (tasks, kernel):
                instance.write("tracing_on", "1")
            self._copier = self._start_copier(enabled, numbers)
            # Wait for its line: until it has started, open files are not looked at.
            assert self._copier.stdout is not None
            detail(f"waiting for process {self._copier.pid}, which copies the trace to {self._directory}")
            self._copier.stdout.readline()
            for instance in (tasks, kernel):
                instance.release()  # the copier has them open, and removes them
        except BaseException:
            self._clean_up()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        try:
            # It finishes when its input ends.
            _, said = self._copier.communicate()
        finally:
            self._clean_up()
        if self._copier.returncode and error is None:
            reason = said.decode(errors="replace").strip().splitlines()
            raise TraceError(f"the recording failed: {reason[-1] if reason else self._copier.returncode}")

    def _make(self, name: str) -> Instance:
        instance = self._instances[name] = self._tracefs.instance(name)
        instance.write("tracing_on", "0")
        instance.write("trace_clock", "mono")
        instance.write("buffer_size_kb", str(BUFFER_KB))
        detail(f"tracing into {instance.path}, {BUFFER_KB} kB for each CPU")
        return instance

    def _start_copier(
        self, enabled: dict[str, list[str]], numbers: Mapping[int, int] | None
    ) -> subprocess.Popen[bytes]:
        order = {
            "tracefs": str(self._tracefs.path),
            "instances": {name: str(instance.path) for name, instance in self._instances.items()},
            "events": enabled,
            "directory": str(self._directory.absolute()),
            "pids": self._pids,
            "numbers": numbers,
        }
        mount = self._tracefs.descriptor
        # In a session of its own, since Ctrl-C must not reach it before it has finished; with -P, since root must
        # not import anything from the working directory.
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "shaper.trace.record.copier", json.dumps(order)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            pass_fds=() if mount is None else (mount,),
        )

    def _clean_up(self) -> None:
        for instance in self._instances.values():
            instance.remove()
        self._tracefs.close()


def _given(tids: Iterable[int], numbers: Mapping[int, int]) -> list[int]:
    """The tracer's numbers of these threads."""
    given = {here: number for number, here in numbers.items()}
    found = [given[tid] for tid in tids if tid in given]
    if not found:
        raise TraceError("the numbers that the kernel's tracer gives these tasks can't be found out")
    return found
