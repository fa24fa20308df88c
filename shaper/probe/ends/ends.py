"""The two ends as processes: forked, let go, waited for, read."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from fcntl import F_SETPIPE_SZ, fcntl

import trio

from shaper.probe.ends.account import Account, read_account
from shaper.probe.ends.play import ProbePlan, main
from shaper.units import s

ROLES = ("server", "client")
GRACE = 1.0
"""An end that is still there so many seconds after its time was over is killed."""
PIPE_SIZE = 1 << 20
"""An end must never wait for its reader."""


class Process:
    """One end. It is forked before trio starts, and waits until it is let go."""

    def __init__(self, role: str, script: ProbePlan) -> None:
        self.role = role
        self.script = script
        self.began = trio.Event()
        self._output = b""
        source, self._gate = os.pipe()
        self._results, target = os.pipe()
        fcntl(target, F_SETPIPE_SZ, PIPE_SIZE)
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid == 0:
            main(role, script, source, target)
        os.close(source)
        os.close(target)

    def release(self) -> None:
        """Let it begin."""
        with suppress(BrokenPipeError):  # it is dead; its account will say so
            os.write(self._gate, b"!")
        os.close(self._gate)

    async def read(self) -> None:
        """Collect what it writes, until it ends; its first line says that it has begun."""
        async with trio.lowlevel.FdStream(self._results) as stream:
            async for part in stream:
                self._output += part
                self.began.set()
        self.began.set()

    async def wait(self) -> None:
        """Until it has ended; it is killed if it plays for longer than its time."""
        descriptor = os.pidfd_open(self.pid)
        try:
            with trio.move_on_after(self.script.timeout / s + GRACE):
                await trio.lowlevel.wait_readable(descriptor)
        finally:
            os.close(descriptor)
            # To one that has ended, and is waited for only now, a signal does nothing.
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)

    def account(self) -> Account:
        """What it did."""
        return read_account(self.role, self.pid, self._output.decode(errors="replace").splitlines())


def fork(script: ProbePlan, roles: Sequence[str] = ROLES) -> list[Process]:
    """The ends of a run. This process must not have run trio yet: its threads would be lost in them."""
    return [Process(role, script) for role in roles]


async def play(ends: Sequence[Process]) -> list[Account]:
    """Let the ends play, one after the other has begun; what each did."""
    async with trio.open_nursery() as nursery:
        for end in ends:
            nursery.start_soon(end.read)
            nursery.start_soon(end.wait)
            end.release()
            # The server's first word is that it listens.
            await end.began.wait()
    return [end.account() for end in ends]
