"""What the kernel did on the CPU of one task, and others to that task: from two instances of our own under tracefs.

The buffers are large enough for all, and read when the tracing has stopped, so nobody reads while it lasts.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import NamedTuple, Self

from shaper.linux import proc
from shaper.trace.read.decode import Format, decoders
from shaper.trace.read.events import TraceEvent
from shaper.trace.read.recording import in_order
from shaper.trace.read.ring import Decode, read_format, read_page, reader
from shaper.trace.read.syscalls import BY_NUMBER
from shaper.trace.record.numbers import given_numbers
from shaper.trace.record.tracefs import Instance, Tracefs

VECTORS = (
    "local_timer", "reschedule", "call_function", "call_function_single", "irq_work", "x86_platform_ipi", "error_apic",
    "spurious_apic", "thermal_apic",
)  # fmt: skip
"""What interrupts a CPU beside devices, as x86 names it (arch/x86/include/asm/trace/irq_vectors.h)."""
OF_CPU = (
    "sched/sched_switch", "sched/sched_waking", "sched/sched_stat_runtime",
    "irq/irq_handler_entry", "irq/irq_handler_exit", "irq/softirq_entry", "irq/softirq_exit",
    *(f"irq_vectors/{vector}_{end}" for vector in VECTORS for end in ("entry", "exit")),
    "exceptions/page_fault_user", "memcg/count_memcg_events",
    "timer/hrtimer_start", "timer/hrtimer_cancel", "timer/hrtimer_expire_entry",
    "raw_syscalls/sys_enter", "raw_syscalls/sys_exit",
)  # fmt: skip
OF_OTHERS = ("sched/sched_waking", "sched/sched_stat_runtime")
"""Who wakes another task on the task's CPU counts the task's time, too."""
BUFFER_KB = 65_536
"""The size of the buffer of the CPU that is watched."""
OTHERS_KB = 4_096
"""The size of each CPU's buffer for what the other CPUs do to the task."""


class CpuTrace:
    """Traces a task and its CPU, again and again, while it is entered. Then nothing stays under tracefs.

    Args:
        tid: the task, which runs on no other CPU.
        cpu: the CPU.

    Raises:
        TraceError: tracing is not possible here; one line says why.
    """

    def __init__(self, tid: int, cpu: int) -> None:
        self._tid, self._cpu = tid, cpu
        self._instances: list[Instance] = []
        self._numbers: dict[int, int] = {}

    def __enter__(self) -> Self:
        self._tracefs = Tracefs()
        try:
            of_cpu, others = self._make("cpu"), self._make("others")
            if proc.in_pid_namespace():
                self._numbers = {here: number for number, here in given_numbers(of_cpu).items()}
            of_cpu.write("tracing_cpumask", f"{1 << self._cpu:x}")
            of_cpu.write(f"per_cpu/cpu{self._cpu}/buffer_size_kb", str(BUFFER_KB))
            others.write("buffer_size_kb", str(OTHERS_KB))
            for event in OF_OTHERS:
                others.write(f"events/{event}/filter", f"pid == {self.number(self._tid)} && CPU != {self._cpu}")
            enabled = of_cpu.enable(OF_CPU)
            others.enable(OF_OTHERS)
            self._kinds = _kinds({event.partition("/")[2]: read_format(of_cpu.format(event)) for event in enabled})
        except BaseException:
            self._clean_up()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._clean_up()

    def _make(self, name: str) -> Instance:
        instance = self._tracefs.instance(f"tail-{name}")
        self._instances.append(instance)
        instance.write("tracing_on", "0")
        instance.write("trace_clock", "mono")
        return instance

    def _clean_up(self) -> None:
        for instance in self._instances:
            instance.remove()
        self._tracefs.close()

    def number(self, tid: int) -> int:
        """The number that the events give to this task, which is another one in a PID namespace."""
        return self._numbers.get(tid, tid)

    def start(self) -> None:
        """Trace from now on."""
        for instance in self._instances:
            instance.write("tracing_on", "1")

    def stop(self) -> Recorded:
        """Trace no longer. Returns the events since `start`."""
        for instance in self._instances:
            instance.write("tracing_on", "0")
        return Recorded([(cpu, _pages(each, cpu)) for each in self._instances for cpu in each.cpus()], self._kinds)


class Recorded(NamedTuple):
    """What was traced, as the kernel keeps it, which takes a tenth of the memory that the events do.

    Attributes:
        pages: numbers of CPUs, with repeats, and the pages of their buffers.
        kinds: for the number of each event, its name and what decodes its fields.
    """

    pages: list[tuple[int, list[bytes]]]
    kinds: dict[int, tuple[str, Decode]]

    def events(self) -> Iterator[TraceEvent]:
        """The events, in order of time."""
        return in_order(map(partial(read_page, cpu=cpu, kinds=self.kinds), pages) for cpu, pages in self.pages)


def _pages(instance: Instance, cpu: int) -> list[bytes]:
    """The pages of a CPU's buffer. They are gone from there then."""
    pages = []
    pipe, size = instance.open_pipe(cpu), os.sysconf("SC_PAGE_SIZE")
    try:
        with suppress(BlockingIOError):
            while page := os.read(pipe, size):
                pages.append(page)
    finally:
        os.close(pipe)
    return pages


def _kinds(formats: dict[str, tuple[int, Format]]) -> dict[int, tuple[str, Decode]]:
    """As `decoders`, with the events and fields that only this needs."""
    kinds = decoders(formats, BY_NUMBER, {})
    makers: dict[str, Sequence[str]] = {
        "hrtimer_start": ("hrtimer", "expires"),
        "hrtimer_cancel": ("hrtimer",),
        "hrtimer_expire_entry": ("hrtimer",),
        "sched_stat_runtime": ("pid", "runtime"),
        "page_fault_user": (),
        "count_memcg_events": (),
        **{f"{vector}_{end}": () for vector in VECTORS for end in ("entry", "exit")},
    }
    for name, fields in makers.items():
        if name in formats:
            number, form = formats[name]
            kinds[number] = (name, _numbers(form, fields))
    return kinds


def _numbers(form: Format, names: Sequence[str]) -> Decode:
    """Decodes these fields, which are numbers and lie in this order."""
    if not names:
        return lambda page, at: {}
    read = reader(form, *names)
    return lambda page, at: dict(zip(names, read(page, at), strict=True))
