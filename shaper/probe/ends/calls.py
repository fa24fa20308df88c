"""System calls that are made and recorded: what was called, when, and with which result.

Each call is written down as one JSON line when it returns, with CLOCK_MONOTONIC before
and after it (clock_gettime(2)), so no tracer is needed. The names are the kernel's:
Python's `select` makes pselect6, its `send` sendto (as strace shows on x86_64).
"""

from __future__ import annotations

import errno
import json
import os
import select
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TextIO, TypeVar

T = TypeVar("T")
Wanted = Sequence[tuple[socket.socket, int]]
"""Sockets to wait for, each with IN or OUT, or both of them."""
Ready = list[tuple[int, int]]
"""File descriptors that are ready, each with IN or OUT."""
Epoll = select.epoll
"""Named here, since in `CallRecorder` the word `select` is a method."""

IN = select.POLLIN
OUT = select.POLLOUT


class TimeIsUp(Exception):
    """The time for the whole workload is over; the call in progress was interrupted."""


class CallRecorder:
    """Makes system calls for one end, and writes each down.

    Args:
        output: a line is written to it for each call.
    """

    def __init__(self, output: TextIO) -> None:
        self._output = output

    def note(self, **facts: Any) -> None:
        """Write one line about something other than a call."""
        self._output.write(json.dumps(facts, separators=(",", ":")) + "\n")
        self._output.flush()

    def call(
        self,
        syscall: str,
        fd: int,
        make: Callable[[], T],
        describe: Callable[[T], Mapping[str, Any]] | None = None,
        **facts: Any,
    ) -> T:
        """Make one call and write it down, even if it fails.

        Args:
            syscall: its name in the kernel.
            fd: the file descriptor that it is about; -1 if there is none.
            make: makes the call.
            describe: turns the returned value into `result`, `bytes`, `ready` or `fd`.
            facts: what else to write.
        """
        facts = {"syscall": syscall, "fd": fd, "result": 0, **facts}
        start = time.monotonic_ns()
        try:
            value = make()
            facts["end_ns"] = time.monotonic_ns()
            facts.update(describe(value) if describe is not None else {})
            return value
        except (OSError, TimeIsUp) as error:
            facts["end_ns"] = time.monotonic_ns()
            number = (error.errno or errno.EIO) if isinstance(error, OSError) else errno.EINTR
            facts.update(result=-number, error=errno.errorcode.get(number, str(number)))
            raise
        finally:
            self.note(start_ns=start, **facts)

    def select(self, wanted: Wanted, timeout: float | None = None) -> Ready:
        """select(2): which of these sockets can be read (IN) or written (OUT); the timeout is in seconds."""
        readers = [each for each, events in wanted if events & IN]
        writers = [each for each, events in wanted if events & OUT]

        def wait() -> Ready:
            readable, writable, _ = select.select(readers, writers, [], timeout)
            return [(each.fileno(), IN) for each in readable] + [(each.fileno(), OUT) for each in writable]

        return self._wait("pselect6", wanted, wait)

    def poll(self, wanted: Wanted, timeout: float | None = None) -> Ready:
        """poll(2); an empty result means that the timeout (in seconds) has passed."""
        poller = select.poll()
        for each, events in wanted:
            poller.register(each, events)
        limit = None if timeout is None else timeout * 1000
        return self._wait("poll", wanted, lambda: poller.poll(limit))

    def epoll_wait(self, epoll: Epoll, wanted: Wanted) -> Ready:
        """epoll_wait(2), on sockets that are registered with this epoll."""
        return self._wait("epoll_wait", wanted, epoll.poll)

    def _wait(self, syscall: str, wanted: Wanted, make: Callable[[], Ready]) -> Ready:
        watched = [(each.fileno(), events) for each, events in wanted]
        return self.call(syscall, watched[0][0], make, _ready, wanted=watched)

    def pause(self, duration: int) -> None:
        """Do nothing for this long (ns), like a program that computes or waits for its user."""
        self.call("clock_nanosleep", -1, lambda: time.sleep(duration / 1e9))


class Socket(socket.socket):
    """A blocking socket whose calls are recorded.

    The methods of `socket.socket` do what they do there (socket(7)); only the others are documented here.
    """

    recorder: CallRecorder

    @classmethod
    def open(cls, recorder: CallRecorder, family: int, kind: int, fileno: int | None = None) -> Socket:
        """A new socket, or one for a file descriptor that is open already."""
        made = cls(family, kind, 0, fileno)
        made.recorder = recorder
        made.settimeout(None)
        return made

    def connect(self, address: Any) -> None:
        try:
            self.recorder.call("connect", self.fileno(), lambda: super(Socket, self).connect(address))
        finally:
            self.note_flow(address)

    def accept(self) -> tuple[Socket, Any]:
        plain, address = self.recorder.call(
            "accept4", self.fileno(), super().accept, lambda accepted: {"result": accepted[0].fileno()}
        )
        accepted = Socket.open(self.recorder, self.family, self.type, plain.detach())
        accepted.note_flow(address)
        return accepted, address

    def recv(self, size: int, flags: int = 0) -> bytes:
        return self.recorder.call("recvfrom", self.fileno(), lambda: super(Socket, self).recv(size, flags), _length)

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        return self.recorder.call(
            "recvfrom", self.fileno(), lambda: super(Socket, self).recv_into(buffer, nbytes, flags), _count
        )

    def recvfrom(self, size: int, flags: int = 0) -> tuple[bytes, Any]:
        return self.recorder.call(
            "recvfrom", self.fileno(), lambda: super(Socket, self).recvfrom(size, flags), lambda got: _length(got[0])
        )

    def send(self, data: Any, flags: int = 0) -> int:
        return self.recorder.call("sendto", self.fileno(), lambda: super(Socket, self).send(data, flags), _count)

    def sendall(self, data: Any, flags: int = 0) -> None:
        rest = memoryview(data).cast("B")
        while rest:
            rest = rest[self.send(rest, flags) :]

    def receive(self, size: int) -> bytes:
        """This many bytes, by as many calls as that takes; fewer at the end of file."""
        received = b""
        while len(received) < size and (part := self.recv(size - len(received))):
            received += part
        return received

    def reply(self, data: bytes, address: Any) -> int:
        """sendto(2) this address, from a socket with many peers."""
        return self.recorder.call("sendto", self.fileno(), lambda: self.sendto(data, address), _count)

    def check_connected(self) -> None:
        """getsockopt(2) for SO_ERROR: whether a non-blocking connect succeeded.

        Raises:
            OSError: it failed.
        """

        def check() -> None:
            error = self.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if error:
                raise OSError(error, os.strerror(error))

        self.recorder.call("getsockopt", self.fileno(), check)

    def send_at_once(self) -> None:
        """Don't let small writes wait for the ACK of those before (TCP_NODELAY)."""
        self.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def shutdown(self, how: int) -> None:
        self.recorder.call("shutdown", self.fileno(), lambda: super(Socket, self).shutdown(how))

    def close(self) -> None:
        if self.fileno() >= 0:
            self.recorder.call("close", self.fileno(), super().close)

    def note_flow(self, remote: Any = ("", 0)) -> None:
        """Write down which connection this file descriptor stands for; a server's UDP socket has no single peer."""
        protocol = "udp" if self.type == socket.SOCK_DGRAM else "tcp"
        self.recorder.note(flow=self.fileno(), protocol=protocol, local=self.getsockname()[:2], remote=remote[:2])


def _ready(ready: Ready) -> dict[str, Any]:
    facts: dict[str, Any] = {"result": len(ready), "ready": ready}
    return facts | {"fd": ready[0][0]} if ready else facts


def _length(data: bytes) -> dict[str, Any]:
    return _count(len(data))


def _count(size: int) -> dict[str, Any]:
    return {"result": size, "bytes": size}
