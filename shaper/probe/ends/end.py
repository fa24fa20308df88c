"""End: what a workload gets to play one role with, client or server."""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import Any

from shaper.probe.ends.calls import CallRecorder, Socket


class End:
    """Makes sockets to the other end, and waits for them; every call is recorded.

    `select`, `poll`, `epoll_wait` and `pause` are those of `CallRecorder`.

    Attributes:
        address: the server's, as connect(2) and bind(2) take it.
    """

    def __init__(self, recorder: CallRecorder, host: str, port: int) -> None:
        self._recorder = recorder
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        self._family = found[0]
        self.address: Any = found[4]
        self.select, self.poll, self.epoll_wait = recorder.select, recorder.poll, recorder.epoll_wait
        self.pause = recorder.pause

    def open(self, kind: int = socket.SOCK_STREAM) -> Socket:
        """A new blocking socket of the address's family."""
        return Socket.open(self._recorder, self._family, kind)

    def listen(self, kind: int = socket.SOCK_STREAM) -> Socket:
        """A socket at the server's address; from now on the client may connect."""
        made = self.open(kind)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(self.address)
        if kind == socket.SOCK_STREAM:
            made.listen(128)
        else:
            made.note_flow()
        self._recorder.note(listening=made.getsockname()[:2])
        return made

    def accept(self) -> Socket:
        """The first client of a new listening socket."""
        listening = self.listen()
        return listening.accept()[0]

    def connect(self) -> Socket:
        """A connection to the server, made by a blocking connect."""
        made = self.open()
        made.connect(self.address)
        return made

    def connecting(self) -> Socket:
        """A non-blocking socket whose connect has begun. It can be written to once the handshake is done."""
        made = self.open()
        made.setblocking(False)
        with suppress(BlockingIOError):  # EINPROGRESS
            made.connect(self.address)
        return made
