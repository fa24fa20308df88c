"""A timer that makes a descriptor readable at a time of CLOCK_MONOTONIC, to the nanosecond: timerfd_create(2)."""

import os
import time

from shaper.linux.libc import (
    TFD_CLOEXEC,
    TFD_NONBLOCK,
    TFD_TIMER_ABSTIME,
    ITimerSpec,
    last_error,
    timerfd_create,
    timerfd_settime,
)

SECOND = 1_000_000_000


class TimerFD:
    """One timer; it is set to one time at most.

    Raises:
        OSError: see timerfd_create(2).
    """

    def __init__(self) -> None:
        self._fd = timerfd_create(time.CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC)
        self._set_to = 0
        spec = ITimerSpec()
        self._value = spec.it_value
        self._settime, self._arguments = timerfd_settime(self._fd, TFD_TIMER_ABSTIME, spec)

    def fileno(self) -> int:
        """The descriptor: readable from the set time on, until the timer is set again."""
        return self._fd

    def set(self, at: int | None) -> None:
        """Expire at this time (ns) instead of the one set before; None: don't expire.

        Raises:
            OSError: see timerfd_settime(2).
        """
        # The kernel takes 0 to disarm the timer; at a time that has passed it expires at once.
        at = max(at, 1) if at is not None else 0
        if at == self._set_to:
            return
        self._set_to = at
        value = self._value
        value.tv_sec, value.tv_nsec = divmod(at, SECOND)
        if self._settime(*self._arguments) < 0:
            raise last_error()

    def close(self) -> None:
        """Give the descriptor up."""
        os.close(self._fd)


def wait_until(at: int) -> None:
    """Watch the clock until this time (ns), which is more punctual than any sleep."""
    while time.monotonic_ns() < at:
        pass
