"""One HTTP connection: requests read with h11 and given to an ASGI application, with a bound on everything.

A request is read whole before the application is called, so a slow sender costs a slot for some seconds, and memory for
a small body, but never a task of the application.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from email.utils import formatdate
from functools import partial
from http import HTTPStatus
from struct import Struct
from typing import Any
from urllib.parse import unquote

import h11
import trio

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]

HEAD_LIMIT = 16 << 10
"""Bytes of a request's line and headers."""
BODY_LIMIT = 64 << 10
"""Bytes of a request's body."""
REQUEST_TIME = 10.0
"""Seconds until a request has come, and until the peer has taken a part of the response."""
LINGER = 2.0
"""Seconds for which the rest of a refused request is read, so that the peer gets to see why."""
CHUNK = 16 << 10


PEER = "shaper.peer"
"""The extension of ASGI that holds the user id of the peer at a Unix socket."""
_ucred = Struct("=iII")  # process, user, group: unix(7)


def peer_user(connected: trio.socket.SocketType) -> int:
    """The user who connected to a Unix socket."""
    user: int = _ucred.unpack(connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _ucred.size))[1]
    return user


class Refused(Exception):
    """A request that no application gets to see: HTTP status, and why."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status, self.detail = status, detail


async def converse(stream: trio.SocketStream, app: Application, refuse: Callable[[int, str], Application]) -> None:
    """Answer the requests of one connection until it ends; the caller closes it.

    Args:
        stream: the connection.
        app: answers them.
        refuse: makes what answers a request that is too large, too slow, or not HTTP: status, why.
    """
    connection = _Connection(stream)
    with suppress(trio.BrokenResourceError, BrokenPipeError):
        try:
            while await connection.answer_one(app):
                pass
        except Refused as refused:
            await connection.refuse(refuse(refused.status, refused.detail))


class _Connection:
    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_LIMIT)
        self._ahead = 0  # bytes that came while a response was sent
        self._is_at_end = False

    async def answer_one(self, app: Application) -> bool:
        """Read a request and answer it; whether another one may follow.

        Raises:
            Refused: it isn't one for the application.
            BrokenPipeError: the peer is gone, or doesn't take the response.
        """
        with trio.move_on_after(REQUEST_TIME) as timer:
            exchange = await self._read()
        if timer.cancelled_caught:
            if self._http.their_state is h11.IDLE and not self._http.trailing_data[0]:
                return False  # it asked for nothing
            raise Refused(HTTPStatus.REQUEST_TIMEOUT, f"the request took longer than {REQUEST_TIME:g} s")
        if exchange is None:
            return False
        request, body = exchange
        await self._run(app, request, body)
        if self._is_at_end or self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
            return False
        self._http.start_next_cycle()
        self._ahead = 0
        return True

    async def refuse(self, app: Application) -> None:
        """Answer what isn't a request for the application, and end."""
        if self._http.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return
        await self._run(app, h11.Request(method="GET", target="/", headers=[("Host", "")]), b"")
        await self._stream.send_eof()
        with trio.move_on_after(LINGER):
            while await self._stream.receive_some(CHUNK):
                pass

    async def _read(self) -> tuple[h11.Request, bytes] | None:
        """A request with its body; None if the peer has none any more."""
        try:
            request = await self._event()
            if not isinstance(request, h11.Request):
                return None
            body = bytearray()
            while isinstance(event := await self._event(), h11.Data):
                body += event.data
                if len(body) > BODY_LIMIT:
                    raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a body has at most {BODY_LIMIT >> 10} kB")
        except h11.RemoteProtocolError as error:
            raise Refused(error.error_status_hint, str(error)) from error
        if not request.target.startswith(b"/"):
            raise Refused(HTTPStatus.BAD_REQUEST, "the request's target must be a path")
        return request, bytes(body)

    async def _event(self) -> h11.Event:
        while not isinstance(event := self._http.next_event(), h11.Event):
            if self._http.they_are_waiting_for_100_continue:
                await self._write(h11.InformationalResponse(status_code=100, headers=[]))
            self._http.receive_data(await self._stream.receive_some(CHUNK))
        return event

    async def _write(self, event: h11.Event) -> None:
        if data := self._http.send(event):
            with trio.move_on_after(REQUEST_TIME) as timer:
                await self._stream.send_all(data)
            if timer.cancelled_caught:
                raise BrokenPipeError("the peer doesn't take the response")

    async def _run(self, app: Application, request: h11.Request, body: bytes) -> None:
        path, _, query = request.target.partition(b"?")
        peer = self._stream.socket.getpeername()
        here = self._stream.socket.getsockname()
        is_tcp = isinstance(peer, tuple)
        scope: Message = {
            "type": "http",
            # Below 2.4 an application waits for `http.disconnect` while it streams.
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": request.http_version.decode(),
            "method": request.method.decode(),
            "scheme": "http",
            "path": unquote(path.decode("latin-1")),
            "raw_path": path,
            "query_string": query,
            "root_path": "",
            "headers": list(request.headers),
            "client": tuple(peer[:2]) if is_tcp else None,
            "server": tuple(here[:2]) if is_tcp else None,
            "extensions": {} if is_tcp else {PEER: {"uid": peer_user(self._stream.socket)}},
        }
        bodies = [body]
        await app(scope, partial(self._receive, bodies), partial(self._send, scope["method"] == "HEAD"))

    async def _receive(self, bodies: list[bytes]) -> Message:
        """What an application is given: the whole body, then the end of the connection."""
        if bodies:
            return {"type": "http.request", "body": bodies.pop(), "more_body": False}
        while not self._is_at_end:
            data = await self._stream.receive_some(CHUNK)
            self._http.receive_data(data)
            self._ahead += len(data)
            self._is_at_end = not data or self._ahead > HEAD_LIMIT
        return {"type": "http.disconnect"}

    async def _send(self, is_head: bool, message: Message) -> None:
        """Write a part of an application's response."""
        if message["type"] == "http.response.start":
            status = HTTPStatus(message["status"])
            headers = [(b"Date", formatdate(usegmt=True).encode()), *message.get("headers", ())]
            await self._write(h11.Response(status_code=status, reason=status.phrase.encode(), headers=headers))
            return
        if message.get("body") and not is_head:
            await self._write(h11.Data(data=message["body"]))
        if not message.get("more_body"):
            await self._write(h11.EndOfMessage())
