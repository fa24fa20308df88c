"""A process that forks engines while its front runs.

A front in which trio and other threads run can't fork. So before they do, it forks this one, which has all that is
loaded and does nothing but to fork engines when asked, each in the network namespace that it is given, and to wait for
their ends. It ends with its front.
"""

from __future__ import annotations

import os
import pickle
import signal
import socket
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from threading import Lock
from typing import Any

from shaper.errors import ShaperError
from shaper.linux.libc import CLONE_NEWNET, setns
from shaper.live.front.process import SIGNALS, be_engine
from shaper.live.settings import Settings

MESSAGE = 1 << 16
"""Bytes of an order, at most."""


class ForkServer:
    """The process, forked from this one, in which neither trio nor another thread may run yet.

    Args:
        settings: of all engines, except for what their orders change.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._turn = Lock()
        self._end, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        self._pid = os.fork()
        if self._pid == 0:
            self._end.close()
            try:
                _serve(settings, theirs)
            finally:
                os._exit(0)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        theirs.close()

    def fork(self, settings: Settings, descriptors: Sequence[int]) -> int:
        """Start an engine; returns its process.

        Args:
            settings: its own.
            descriptors: its end of the socket to the front, the file for its result, its network namespace.

        Raises:
            ShaperError: the server has died.
        """
        changed = {name: value for name, value in vars(settings).items() if value is not getattr(self._settings, name)}
        return self._asked(("fork", changed), descriptors)

    def wait(self, pid: int) -> int:
        """Wait until an engine has ended; its status, as waitpid(2) gives it.

        Raises:
            ShaperError: the server has died.
        """
        return self._asked(("wait", pid))

    def _asked(self, order: tuple[str, Any], descriptors: Sequence[int] = ()) -> int:
        with self._turn, suppress(OSError):
            socket.send_fds(self._end, [pickle.dumps(order)], list(descriptors))
            if answer := self._end.recv(MESSAGE):
                number: int = pickle.loads(answer)
                return number
        raise ShaperError("the process that starts engines has died")

    def close(self) -> None:
        """End it, once all engines have ended."""
        self._end.close()
        os.waitpid(self._pid, 0)


def _serve(settings: Settings, end: socket.socket) -> None:
    """Do what the front asks for, until it has ended."""
    while True:
        words, descriptors, *_ = socket.recv_fds(end, MESSAGE, 3)
        if not words:
            return
        match pickle.loads(words):
            case "fork", changed:
                control, result, namespace = descriptors
                pid = os.fork()
                if pid == 0:
                    end.close()
                    setns(namespace, CLONE_NEWNET)
                    os.close(namespace)
                    be_engine(replace(settings, **changed), socket.socket(fileno=control), os.fdopen(result, "w"))
                for descriptor in descriptors:
                    os.close(descriptor)
                end.send(pickle.dumps(pid))
            case "wait", pid:
                end.send(pickle.dumps(os.waitpid(pid, 0)[1]))
