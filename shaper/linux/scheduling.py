"""Keeps the engine on one CPU and lets it run before other programs: see sched(7), taskset(1) and chrt(1)."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from shaper.errors import ShaperError, UsageError
from shaper.linux.libc import sched_setattr
from shaper.units import us

PRIORITY = 1
"""The lowest priority of SCHED_FIFO, which is above all that isn't real-time."""
NORMAL, FIFO = (policy | os.SCHED_RESET_ON_FORK for policy in (os.SCHED_OTHER, os.SCHED_FIFO))
"""A thread's children don't inherit these: what it starts, such as the guardian, is scheduled as usual."""
SLICE = 100 * us
"""The shortest that the kernel takes; by default it is 0.7 to 3 ms. See `scheduled`."""


def check(cpus: Sequence[int]) -> None:
    """Make sure that this process may run on each of these CPUs.

    Raises:
        UsageError: it may not, or there is no such CPU; the message lists those that it may use.
    """
    before = os.sched_getaffinity(0)
    try:
        for cpu in cpus:
            os.sched_setaffinity(0, {cpu})
    except OSError:
        usable = ", ".join(map(str, sorted(before)))
        raise UsageError(f"there is no CPU {cpu} to run on here; there are {usable}") from None
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def scheduled(*, cpu: int | None, realtime: bool) -> Iterator[None]:
    """In here this thread, and no other, stays on one CPU, and runs soon after it wakes.

    Either it comes before all that isn't real-time, or it asks for short slices. From Linux 6.12 on, it then gets its
    share of the CPU in more and earlier pieces, where it would wait until the slices of others end.

    Args:
        cpu: the one that it stays on; None for any that it may use.
        realtime: run it under SCHED_FIFO, at the lowest priority.

    Raises:
        UsageError: there is no such CPU.
        ShaperError: SCHED_FIFO is not permitted.
    """
    before = os.sched_getaffinity(0)
    if cpu is not None:
        check([cpu])
        os.sched_setaffinity(0, {cpu})
    try:
        if realtime:
            set_policy(0, FIFO, PRIORITY)
        else:
            set_slice(SLICE)
        yield
    finally:
        if realtime:
            set_policy(0, NORMAL, 0)
        else:
            set_slice(0)
        if cpu is not None:
            os.sched_setaffinity(0, before)


def set_slice(duration: int) -> None:
    """Ask for slices of this duration (ns) for this thread; 0 for the default. A kernel before 6.12 ignores it.

    A thread that was put under another policy stays as it is.
    """
    if os.sched_getscheduler(0) != os.SCHED_OTHER:
        return
    with suppress(OSError):  # a sandbox may forbid it
        sched_setattr(os.SCHED_OTHER, os.getpriority(os.PRIO_PROCESS, 0), duration)


def set_policy(thread: int, policy: int, priority: int) -> None:
    """Set a thread's scheduling policy and priority; thread 0 is this one.

    Raises:
        ShaperError: this is not permitted.
    """
    try:
        os.sched_setscheduler(thread, policy, os.sched_param(priority))
    except PermissionError:
        raise ShaperError(
            "SCHED_FIFO is not permitted: --realtime needs CAP_SYS_NICE, or a limit that allows it "
            f"(`ulimit -r {PRIORITY}`)"
        ) from None
