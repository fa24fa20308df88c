"""Keeps the engine on one CPU and lets it run before other programs: see sched(7), taskset(1) and chrt(1)."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from shaper.errors import ShaperError, UsageError

PRIORITY = 1
"""The lowest priority of SCHED_FIFO, which is above all that isn't real-time."""
NORMAL, FIFO = (policy | os.SCHED_RESET_ON_FORK for policy in (os.SCHED_OTHER, os.SCHED_FIFO))
"""A thread's children don't inherit these: what it starts, such as the guardian, is scheduled as usual."""


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
    """In here this thread, and no other, stays on one CPU and comes before all that isn't real-time.

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
        yield
    finally:
        if realtime:
            set_policy(0, NORMAL, 0)
        if cpu is not None:
            os.sched_setaffinity(0, before)


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
