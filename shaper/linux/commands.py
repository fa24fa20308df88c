"""Several commands of one run: servers, which it ends, and clients, whose end is its own."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import get_args

import trio

from shaper.linux.command import Command, end_with_parent
from shaper.linux.sockets import CLOSED, LISTENING, Table, sockets
from shaper.verbose import detail

SECONDS_TO_LISTEN = 5.0
"""A client starts at last this long after a server that listens to nothing."""
SECONDS_TO_END = 2.0
"""What a server has to end after SIGTERM."""
POLLING = 0.005
"""Seconds between two looks."""


class Commands:
    """Commands that wait, and then run.

    Args:
        servers: those that `be_server` has prepared; each starts when the one before listens, and all end with the run.
        clients: at least one; they start after the servers. The last one is the one that job control stops.
        deaf: called with a server that listens to nothing.
    """

    def __init__(
        self, servers: Sequence[Command], clients: Sequence[Command], deaf: Callable[[Command], None] = lambda _: None
    ) -> None:
        self._servers, self._clients, self._deaf = servers, clients, deaf

    @property
    def pids(self) -> list[int]:
        """Of all."""
        return [each.pid for each in (*self._servers, *self._clients)]

    async def start(self) -> None:
        """Let the servers start, and then the clients."""
        for server in self._servers:
            before = listening(server.pid)
            server.release()
            detail(f"waiting until process {server.pid} listens, {SECONDS_TO_LISTEN:g} s at most")
            with trio.move_on_after(SECONDS_TO_LISTEN) as waiting:
                while not server.has_ended() and listening(server.pid) <= before:
                    await trio.sleep(POLLING)
            if waiting.cancelled_caught:
                self._deaf(server)
        for client in self._clients:
            client.release()
            detail(f"process {client.pid} begins")

    async def pass_signals_on(
        self, before_stop: Callable[[], None] = lambda: None, *, task_status: trio.TaskStatus[None]
    ) -> None:
        """Pass signals on to all clients; see `Command.pass_signals_on`."""
        *others, last = self._clients
        await last.pass_signals_on(before_stop, others, task_status=task_status)

    async def wait(self) -> int:
        """Wait until all clients have ended, and end the servers; returns the first status of a client that isn't 0."""
        statuses = [await client.wait() for client in self._clients]
        for server in self._servers:
            server.send_to_group(signal.SIGTERM)
        with trio.move_on_after(SECONDS_TO_END):
            while not all(server.has_ended() for server in self._servers):
                await trio.sleep(POLLING)
        for server in self._servers:
            server.send_to_group(signal.SIGKILL)
            await server.wait()
        return next(filter(None, statuses), 0)


def be_server() -> None:
    """What the child process of a server calls: it has no input, and ends with its parent, not by a Ctrl-C."""
    os.setpgid(0, 0)
    end_with_parent(signal.SIGTERM)
    take_no_input()


def take_no_input() -> None:
    """What a child process calls that leaves standard input to another one."""
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)


def listening(pid: int) -> int:
    """How many sockets of a process's network wait for somebody: TCP that listens, and UDP that is bound."""
    found = 0
    for table in get_args(Table):
        with suppress(OSError, StopIteration):  # there is no IPv6, or the process has ended
            wanted = LISTENING if table.startswith("tcp") else CLOSED
            found += sum(entry.state == wanted for entry in sockets(table, pid))
    return found
