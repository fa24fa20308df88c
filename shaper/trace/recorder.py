"""The recorder: the kernel's events of some processes, from tracefs to a directory.

Two instances of its own: one follows the processes (scheduler, system calls); the other
has what surrounds a waking, on all CPUs and whoever runs there (interrupts, softirqs,
timers, packets queued), since a filter by process would hide what happens while idle.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from shaper.trace.events import TraceError
from shaper.trace.recording import DESCRIPTION, SNAPSHOTS, VERSION
from shaper.trace.ring import read_format
from shaper.trace.snapshot import Snapshots, threads
from shaper.trace.tracefs import Instance, Tracefs

OF_TASKS = (
    "sched/sched_switch", "sched/sched_waking", "sched/sched_process_exit", "task/task_newtask",
    "raw_syscalls/sys_enter", "raw_syscalls/sys_exit",
)  # fmt: skip
OF_KERNEL = (
    "irq/irq_handler_entry", "irq/irq_handler_exit", "irq/softirq_entry", "irq/softirq_exit",
    "timer/hrtimer_expire_entry", "timer/hrtimer_expire_exit", "net/net_dev_queue", "sock/inet_sock_set_state",
)  # fmt: skip
NEEDED = OF_TASKS[:2] + OF_TASKS[4:]
# For each CPU and instance; and how often what it holds is fetched.
BUFFER_KB = 8192
INTERVAL = 0.05
# Timer functions that wake tasks or interrupt them often.
FUNCTIONS = (
    "hrtimer_wakeup", "posix_timer_fn", "it_real_fn", "timerfd_tmrproc", "qdisc_watchdog", "tick_nohz_handler",
    "tick_sched_timer", "tcp_pace_kick", "alarmtimer_fired", "sched_rt_period_timer",
)  # fmt: skip


class Recorder:
    """Records while it is entered; what is under tracefs is gone when it is left, however.

    Args:
        directory: where to; made, and must not exist with anything in it.
        pids: the processes, with all threads and descendants, present and future.

    Attributes:
        directory: where the recording is.
        missing: events that this kernel lacks.

    Raises:
        TraceError: tracing is not possible here; one line says why.
    """

    def __init__(self, directory: Path, pids: Iterable[int]) -> None:
        self.directory = directory
        self.missing: list[str] = []
        self._snapshots = Snapshots(pids)
        self._pids = tuple(pids)
        self._stop = threading.Event()
        self._copies: list[tuple[int, BinaryIO]] = []
        self._thread = threading.Thread(target=self._copy, name="recorder", daemon=True)
        self._failure: Exception | None = None

    def __enter__(self) -> Recorder:
        self._tracefs = Tracefs()
        self._instances: list[tuple[str, Instance]] = []
        try:
            self._tracefs.remove_leftovers()
            for name in ("tasks", "kernel"):
                instance = self._tracefs.instance(name)
                self._instances.append((name, instance))
                instance.write("tracing_on", "0")
                instance.write("trace_clock", "mono")
                instance.write("buffer_size_kb", str(BUFFER_KB))
            self._set_up()
            for _, instance in self._instances:
                instance.write("tracing_on", "1")
        except BaseException:
            self._clean_up()
            raise
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        try:
            for _, instance in self._instances:
                instance.write("tracing_on", "0")
            self._stop.set()
            self._thread.join()
            self._describe()
        finally:
            self._clean_up()
        if self._failure is not None and error is None:
            raise TraceError(f"{self.directory}: {self._failure}")

    def _set_up(self) -> None:
        (_, tasks), (_, kernel) = self._instances
        tasks.follow(threads(self._pids))
        self.missing = tasks.enable(OF_TASKS) + kernel.enable(OF_KERNEL)
        lacking = [event for event in NEEDED if event in self.missing]
        if lacking:
            raise TraceError(f"this kernel can't trace {', '.join(lacking)}, which the analysis of blockings needs")
        for name, instance in self._instances:
            folder = self.directory / name
            folder.mkdir(parents=True, exist_ok=True)
            for cpu in instance.cpus():
                self._copies.append((instance.open_pipe(cpu), (folder / f"cpu{cpu}.raw").open("wb")))

    def _copy(self) -> None:
        """Copy the buffers to files until told to stop, and then what is left."""
        size = os.sysconf("SC_PAGE_SIZE")
        try:
            with (self.directory / SNAPSHOTS).open("w") as snapshots:
                stopping = False
                while not stopping:
                    stopping = self._stop.wait(INTERVAL)
                    for entry in self._snapshots.look():
                        snapshots.write(json.dumps(entry) + "\n")
                    for pipe, file in self._copies:
                        with suppress(BlockingIOError):
                            while page := os.read(pipe, size):
                                file.write(page)
        except OSError as error:
            self._failure = error

    def _describe(self) -> None:
        formats = {}
        for instance, events in zip((self._instances[0][1], self._instances[1][1]), (OF_TASKS, OF_KERNEL), strict=True):
            for event in events:
                if event not in self.missing:
                    formats[event.partition("/")[2]] = read_format(instance.format(event))
        description = {
            "v": VERSION,
            "machine": os.uname().machine,
            "page_size": os.sysconf("SC_PAGE_SIZE"),
            "formats": formats,
            "functions": _addresses(FUNCTIONS),
            "names": dict(_names(self._tracefs.path)),
            "pids": self._pids,
        }
        for _, file in self._copies:
            file.close()
        (self.directory / DESCRIPTION).write_text(json.dumps(description))

    def _clean_up(self) -> None:
        for pipe, file in self._copies:
            os.close(pipe)
            file.close()
        self._copies = []
        for _, instance in self._instances:
            instance.remove()
        self._tracefs.close()


def _addresses(functions: Sequence[str]) -> dict[str, str]:
    """Where the kernel has these functions, as far as it says."""
    found = {}
    with Path("/proc/kallsyms").open() as symbols:
        for line in symbols:
            fields = line.split()
            if fields[2] in functions and int(fields[0], 16):
                found[str(int(fields[0], 16))] = fields[2]
    return found


def _names(tracefs: Path) -> Iterator[tuple[str, str]]:
    """The names of tasks that the kernel saw last, and of all that run now."""
    for line in (tracefs / "saved_cmdlines").read_text().splitlines():
        tid, _, comm = line.partition(" ")
        yield tid, comm
    for path in Path("/proc").iterdir():
        if path.name.isdecimal():
            with suppress(OSError):
                yield path.name, (path / "comm").read_text().rstrip("\n")
