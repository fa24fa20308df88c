"""A timerfd: a descriptor that becomes readable at a time of CLOCK_MONOTONIC, to the nanosecond.

`os.timerfd_create` exists from Python 3.13 on; before, the C library is called by ctypes.
See timerfd_create(2).
"""

import ctypes
import os
import time
from ctypes import c_int, c_int64, c_long

TFD_NONBLOCK, TFD_CLOEXEC = os.O_NONBLOCK, os.O_CLOEXEC
TFD_TIMER_ABSTIME = 1
SECOND = 1_000_000_000


class TimeSpec(ctypes.Structure):  # struct timespec
    _fields_ = (("seconds", c_int64), ("nanoseconds", c_long))


class _ITimerSpec(ctypes.Structure):
    _fields_ = (("interval", TimeSpec), ("value", TimeSpec))


class TimerFD:
    """One timer, for one time at once.

    Raises:
        OSError: see timerfd_create(2).
    """

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd = _checked(self._libc.timerfd_create(c_int(time.CLOCK_MONOTONIC), c_int(TFD_NONBLOCK | TFD_CLOEXEC)))
        self._set_to = 0
        self._spec = _ITimerSpec()
        self._arguments = (c_int(self._fd), c_int(TFD_TIMER_ABSTIME), ctypes.byref(self._spec), None)

    def fileno(self) -> int:
        """The descriptor, readable from the set time on until it is set anew."""
        return self._fd

    def set(self, at: int | None) -> None:
        """Ring at this time (ns), and no more at the one before; None: don't ring."""
        # A value of 0 disarms; a time past rings at once.
        at = max(at, 1) if at is not None else 0
        if at == self._set_to:
            return
        self._set_to = at
        value = self._spec.value
        value.seconds, value.nanoseconds = divmod(at, SECOND)
        _checked(self._libc.timerfd_settime(*self._arguments))

    def close(self) -> None:
        os.close(self._fd)


def _checked(result: int) -> int:
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result


def wait_until(at: int) -> None:
    """Watch the clock (ns): nothing else is so punctual."""
    while time.monotonic_ns() < at:
        pass
