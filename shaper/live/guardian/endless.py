"""An endless loop in a policy's hook, ended from outside.

A hook that never returns keeps its thread for ever; Ctrl-C doesn't help either. When the guardian has let the packets
go on, it sends this process a signal. The signal's handler raises an error inside the hook, which then counts as
failed, with the line at which it was.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from shaper.core.failure import PolicyError
from shaper.policy.base import Policy

# "CPU time limit exceeded", signal(7).
SIGNAL = signal.SIGXCPU


@contextmanager
def interruptible() -> Iterator[None]:
    """In here the guardian can end a hook that never returns. For the main thread only."""
    before = signal.signal(SIGNAL, _break)
    try:
        yield
    finally:
        signal.signal(SIGNAL, before)


def _break(_number: int, frame: FrameType | None) -> None:
    # Outside a hook such an error would do harm.
    while frame is not None:
        if isinstance(frame.f_locals.get("self"), Policy):
            raise PolicyError("it ran on without an end")
        frame = frame.f_back
