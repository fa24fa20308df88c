"""The observer of a network: a process outside that looks at what waits inside."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import NoReturn

from shaper.network.waits import INTERVAL, Wait, Watch


def processes(network: int, keeper: int, known: set[int]) -> Iterator[int]:
    """The processes in a network, but for the one that shapes.

    Args:
        network: the inode of its namespace.
        keeper: the process that shapes.
        known: numbers of processes that are left out; those of all others are added.
    """
    for name in os.listdir("/proc"):
        if name.isdecimal() and int(name) not in known:
            known.add(int(name))
            if int(name) == keeper:
                continue
            with suppress(OSError):  # another user's, or it has just ended
                if os.stat(f"/proc/{name}/ns/net").st_ino == network:
                    yield int(name)


class Observer:
    """Forks the process; the one that calls must not have threads, and must not be inside yet.

    Inside it would be root of that network alone, and could not look at what the user runs there.

    Args:
        closed: descriptors that are none of the new process's business: who has their other ends waits for their end.

    Attributes:
        connection: readable when what was asked for has come.
    """

    def __init__(self, *closed: int) -> None:
        self.connection, theirs = Pipe()
        if os.fork() == 0:
            self.connection.close()
            for descriptor in closed:
                os.close(descriptor)
            try:
                _observe(theirs)
            finally:
                os._exit(0)
        theirs.close()

    def begin(self) -> None:
        """Observe the network that this process now is in."""
        self.connection.send((os.stat("/proc/self/ns/net").st_ino, os.getpid()))

    def ask(self) -> None:
        """Ask for the calls that have waited so far, or still wait."""
        self.connection.send(None)

    def answer(self) -> list[Wait]:
        """What was asked for.

        Raises:
            EOFError: the process has been killed.
        """
        found: list[Wait] = self.connection.recv()
        return found


def _observe(asked: Connection) -> NoReturn:
    """The process, until whoever asks has ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is for the user's process, whose end is that of this one
    poll = select.poll()
    poll.register(asked, select.POLLIN)
    with suppress(EOFError, OSError):
        network, keeper = asked.recv()
        watch = Watch(partial(processes, network, keeper))
        while True:
            is_asked = poll.poll(INTERVAL * 1000)
            watch.look()
            if is_asked:
                asked.recv()
                asked.send(watch.waits())
    os._exit(0)
