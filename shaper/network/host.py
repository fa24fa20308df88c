"""The host: a process, beside that of the user, which forks another one for each network.

It imports everything once, so that a network is made in some hundredths of a second. It begins when the first network
is wanted, and ends with the process that wanted it. Each network's process shapes, and answers what is asked of it.
"""

from __future__ import annotations

import atexit
import os
import pickle
import socket
import struct
import subprocess
import sys
import threading
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from shaper.errors import ShaperError
from shaper.network.order import Order, Request

RUN = """
import sys
sys.path.append(sys.argv[1])
try:
    from shaper.network.process import main
except ImportError as error:
    import socket
    orders = socket.socket(fileno=int(sys.argv[2]))
    orders.send(str(error).encode())
    orders.recv(1)
    sys.exit(1)
main(int(sys.argv[2]))
"""
"""shaper isn't searched for in the working directory, where anybody may have put a file."""
ROOT = Path(__file__).parents[2]
DIED = "the network's process has died"
MADE = struct.Struct("i")
"""What a network's process sends first, with descriptors of its namespaces: its number."""
MOST = 1 << 16
"""An order has this many bytes at most."""


class Host:
    """The process that forks those of networks."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            # A session of its own: a Ctrl-C in a terminal is the user's, and networks end when their programs have.
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-c", RUN, str(ROOT), str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        self._lock = threading.Lock()
        self._missing = ""

    def make(self, order: Order) -> Link:
        """Make a network.

        Raises:
            UsageError: a policy can't be used, or the MTU is too small.
            ShaperError: this machine can't make private networks, or shape packets.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        journal = os.memfd_create("journal")
        words = pickle.dumps(order)
        with theirs, self._lock:
            try:
                socket.send_fds(self._socket, [words], [theirs.fileno(), journal])
            except OSError as error:
                os.close(journal)
                ours.close()
                self._check_imports()
                why = f"what makes networks has ended: {error.strerror}" if len(words) < MOST else "too long"
                raise ShaperError(f"the network can't be made: {why}") from None
        try:
            return Link(ours, journal)
        except ShaperError:
            self._check_imports()
            raise

    def _check_imports(self) -> None:
        """Raise if the process has ended because something that it imports is missing."""
        with suppress(OSError):
            self._missing = self._missing or self._socket.recv(MOST, socket.MSG_DONTWAIT).decode()
        if self._missing:
            raise ShaperError(f"packets can't be shaped here: {self._missing}; `shaper doctor` says what to do")

    def close(self) -> None:
        """End the process; networks that are left end by themselves."""
        self._socket.close()
        self._process.wait()

    def forget(self) -> None:
        """Leave it to the process from which this one was forked."""
        self._socket.close()
        self._process.returncode = 0  # it is no child of this one, so there is nothing to wait for


class Link:
    """What connects the user's process with that of a network.

    Attributes:
        namespaces: descriptors of the network's namespaces, the user namespace first if there is one.
        journal: a descriptor of what has happened to the packets; see `read_journal`.
        pid: of the network's process.
    """

    def __init__(self, ours: socket.socket, journal: int) -> None:
        self.journal = journal
        self.namespaces: tuple[int, ...] = ()
        self._asking = threading.Lock()
        try:
            data, descriptors, *_ = socket.recv_fds(ours, MADE.size, 2)
            self.namespaces = tuple(descriptors)
            self._connection = Connection(ours.detach())
            if not data:
                raise ShaperError(DIED)
            (self.pid,) = MADE.unpack(data)
            self._receive()
        except BaseException:
            self.close()
            raise

    def ask(self, what: str, /, **arguments: Any) -> Any:
        """Ask something of the network; returns the answer.

        Raises:
            UsageError, ShaperError: it says what is wrong.
            ShaperError: it has died.
        """
        with self._asking:
            try:
                self._connection.send(Request(what, arguments))
            except OSError:
                raise ShaperError("the network has ended") from None
            return self._receive()

    def _receive(self) -> Any:
        try:
            answer = self._connection.recv()
        except (EOFError, OSError):
            raise ShaperError(DIED) from None
        if isinstance(answer, ShaperError):
            raise answer
        return answer

    def close(self) -> None:
        """End the network's process, unless it has ended."""
        for descriptor in (self.journal, *self.namespaces):
            os.close(descriptor)
        self.namespaces = ()
        if hasattr(self, "_connection"):
            self._connection.close()


_hosts: list[Host] = []
_starting = threading.Lock()


def host() -> Host:
    """The host of this process."""
    with _starting:
        if not _hosts:
            _hosts.append(Host())
        return _hosts[0]


def leave() -> None:
    """End this process's host; networks that are there stay.

    The next one is made by a new host, inside of whatever network this process then is in.
    """
    while _hosts:
        _hosts.pop().close()


def _forget() -> None:
    while _hosts:
        _hosts.pop().forget()


atexit.register(leave)
os.register_at_fork(after_in_child=_forget)
