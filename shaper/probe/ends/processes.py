"""The parent's side of the two ends: it forks them, lets them begin, waits for them and reads what they did.

See `child` for what an end does in its own process.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from fcntl import F_SETPIPE_SZ, fcntl

import trio

from shaper.probe.ends import child
from shaper.probe.ends.account import Account, read_account
from shaper.probe.ends.plan import ProbePlan
from shaper.units import s

ROLES = ("server", "client")
GRACE = 1.0
"""An end that still runs this long (s) after its time is over is killed."""
PIPE_SIZE = 1 << 20
"""Bytes of the pipe for an end's output: an end must never wait for its reader."""


class EndProcess:
    """One end as a process. It is forked before trio starts, and waits until it is released.

    Attributes:
        role: "server" or "client".
        pid: its process id.
        began: set when it has written something, or has ended.
    """

    def __init__(self, role: str, plan: ProbePlan) -> None:
        self.role = role
        self.began = trio.Event()
        self._timeout = plan.timeout
        self._output = b""
        source, self._gate = os.pipe()
        self._results, target = os.pipe()
        fcntl(target, F_SETPIPE_SZ, PIPE_SIZE)
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid == 0:
            child.main(role, plan, source, target)
        os.close(source)
        os.close(target)

    def release(self) -> None:
        """Let it begin."""
        with suppress(BrokenPipeError):  # it is dead; its account will say so
            os.write(self._gate, b"!")
        os.close(self._gate)

    async def read(self) -> None:
        """Collect what it writes, until it ends. Its first line says that it has begun."""
        async with trio.lowlevel.FdStream(self._results) as stream:
            async for part in stream:
                self._output += part
                self.began.set()
        self.began.set()

    async def wait(self) -> None:
        """Wait until it has ended; kill it if it takes longer than planned."""
        descriptor = os.pidfd_open(self.pid)
        try:
            with trio.move_on_after(self._timeout / s + GRACE):
                await trio.lowlevel.wait_readable(descriptor)
        finally:
            os.close(descriptor)
            # If it has ended and is only waited for now, the signal does nothing.
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)

    def account(self) -> Account:
        """What it did."""
        return read_account(self.role, self.pid, self._output.decode(errors="replace").splitlines())


def fork(plan: ProbePlan, roles: Sequence[str] = ROLES) -> list[EndProcess]:
    """The ends of one run. This process must not have run trio yet: a fork would lose its threads."""
    return [EndProcess(role, plan) for role in roles]


async def play(ends: Sequence[EndProcess]) -> list[Account]:
    """Let the ends play, each one once the one before has begun. Returns what each did."""
    async with trio.open_nursery() as nursery:
        for end in ends:
            nursery.start_soon(end.read)
            nursery.start_soon(end.wait)
            end.release()
            # The server's first line says that it listens.
            await end.began.wait()
    return [end.account() for end in ends]
