"""A policy's hook that doesn't return in time, ended from outside.

A hook that loops without an end, or that sleeps, keeps its thread; Ctrl-C doesn't help either. When the guardian has
let the packets go on, it sends this process a signal. The signal's handler raises an error inside the hook, which then
counts as failed, with the line at which it was.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from shaper.core.failure import PolicyError
from shaper.policy.base import Policy
from shaper.units import format_duration

# "CPU time limit exceeded", signal(7).
SIGNAL = signal.SIGXCPU


@contextmanager
def interruptible(watchdog: int) -> Iterator[None]:
    """In here the guardian can end a hook that takes longer than `watchdog` (ns). For the main thread only."""

    def end_hook(_number: int, frame: FrameType | None) -> None:
        # Outside a hook such an error would do harm.
        while frame is not None:
            if isinstance(frame.f_locals.get("self"), Policy):
                raise PolicyError(f"it took longer than --watchdog {format_duration(watchdog)}")
            frame = frame.f_back

    before = signal.signal(SIGNAL, end_hook)
    try:
        yield
    finally:
        signal.signal(SIGNAL, before)
