"""The control server of a running shaper, beside the front, which sees no packet."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from contextlib import aclosing, closing, suppress
from functools import partial
from importlib.metadata import version

import trio

from shaper.control.access import Guard, is_allowed
from shaper.control.app import create_app
from shaper.control.http import Application, converse
from shaper.control.listen import Listeners
from shaper.control.problem import problem
from shaper.linux.sock_diag import SocketDiag
from shaper.live.state import Controlled

CONNECTIONS = 64
"""At the same time, for each socket; more wait to be accepted."""
STRANGERS = 8
"""Connections of other users that are refused in words at the same time; more are just closed."""
PATIENCE = 1.0
"""Seconds for a stranger's request."""
PAUSE = 0.1
"""Seconds until the next try when no connection can be accepted, as too many files are open."""
STRANGER = "another user runs this shaper; use it as that user or as root, or start it with --token-file"

Admits = Callable[[trio.SocketStream], bool]


async def serve(
    front: Controlled,
    listeners: Listeners,
    known: Sequence[str],
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Answer at all sockets until cancelled.

    Args:
        front: what is controlled.
        listeners: open sockets; whoever opened them closes them.
        known: the SPECs that it was started with, see `create_app`.
        task_status: started once connections are accepted.
    """
    app = create_app(front, version=version("nfq-shaper"), known=list(known))
    with closing(SocketDiag()) as diag:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_answer_at, listeners.unix, app, _admit_all)
            admits = _admit_all if listeners.token is not None else partial(_is_known, diag, {0, listeners.owner})
            for one in listeners.tcp:
                nursery.start_soon(_answer_at, one, Guard(app, listeners.token), admits)
            task_status.started()


async def _answer_at(listening: socket.socket, app: Application, admits: Admits) -> None:
    """Answer the connections of one socket, by as many tasks as there may be connections."""
    listener = trio.SocketListener(trio.socket.from_stdlib_socket(listening))
    turn, strangers = trio.Lock(), trio.Semaphore(STRANGERS)
    async with trio.open_nursery() as nursery:
        for _ in range(CONNECTIONS):
            nursery.start_soon(_answer, listener, turn, app, admits, strangers)


async def _answer(
    listener: trio.SocketListener, turn: trio.Lock, app: Application, admits: Admits, strangers: trio.Semaphore
) -> None:
    """Answer one connection after the other."""
    while True:
        async with turn:
            stream = await _accept(listener)
        # What the application raised it has told the client already.
        with suppress(Exception):
            async with aclosing(stream):
                if admits(stream):
                    await converse(stream, app, _refusal)
                elif strangers.value:
                    async with strangers:
                        with trio.move_on_after(PATIENCE):
                            await converse(stream, _refusal(403, STRANGER), _refusal)


async def _accept(listener: trio.SocketListener) -> trio.SocketStream:
    while True:
        try:
            return await listener.accept()
        except OSError:
            await trio.sleep(PAUSE)


def _admit_all(stream: trio.SocketStream) -> bool:
    return True


def _is_known(diag: SocketDiag, users: set[int], stream: trio.SocketStream) -> bool:
    """Whether the peer of a loopback connection is one of these users."""
    here, peer = stream.socket.getsockname(), stream.socket.getpeername()
    return is_allowed(diag, peer[:2], here[:2], users)


def _refusal(status: int, detail: str) -> Application:
    """Answers a request with an error, and ends the connection."""
    return problem(status, detail, {"Connection": "close"})
