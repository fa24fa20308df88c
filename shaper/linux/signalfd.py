"""Signals to this process, each with its sender: signalfd(2).

Python's handlers and trio's receivers have the number alone. Who passes signals on must know whether a terminal sent
one, since a terminal sends it to all processes in its foreground.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from struct import Struct
from typing import NamedTuple

from shaper.linux.libc import SFD_CLOEXEC, SFD_NONBLOCK, signalfd

_INFO = Struct("=IiiI112x")
"""The first fields of struct signalfd_siginfo: the number, errno, the code, the sender."""


class Received(NamedTuple):
    """A signal that came.

    Attributes:
        number: of the signal.
        code: how it was sent: above 0 by the kernel, for example for a terminal; see si_code in sigaction(2).
        sender: the process, if one sent it.
    """

    number: int
    code: int
    sender: int

    @property
    def is_kernels(self) -> bool:
        """The kernel sent it, not a process."""
        return self.code > 0


class SignalFD:
    """These signals have no effect but that they can be read. For the main thread, while it is the only one.

    Threads and processes that are started meanwhile are not reached by these signals either.

    Raises:
        OSError: see signalfd(2).
    """

    def __init__(self, signals: Collection[signal.Signals]) -> None:
        self._fd = signalfd(signals, SFD_NONBLOCK | SFD_CLOEXEC)
        self._before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)

    def fileno(self) -> int:
        """The descriptor: readable when a signal has come."""
        return self._fd

    def read(self) -> Iterator[Received]:
        """The signals that have come."""
        with suppress(BlockingIOError):
            while True:
                number, _, code, sender = _INFO.unpack(os.read(self._fd, _INFO.size))
                yield Received(number, code, sender)

    def close(self) -> None:
        """Let signals have their effects again, but those that came before have none."""
        for _ in self.read():
            pass
        os.close(self._fd)
        signal.pthread_sigmask(signal.SIG_SETMASK, self._before)


@contextmanager
def effective(number: int) -> Iterator[None]:
    """In here a signal to this thread has its effect, although it may be blocked elsewhere."""
    before = signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
