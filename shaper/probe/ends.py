"""The two ends as processes: started, let go together, waited for, read."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from fcntl import F_SETPIPE_SZ, fcntl
from subprocess import PIPE

import trio

from shaper.probe.account import Account, read_account
from shaper.units import s

GRACE = 1.0
"""An end that is still there so many seconds after its time was over is killed."""
PIPE_SIZE = 1 << 20
"""An end must never wait for its reader."""
HOST, PORT = "127.0.0.1", 8765


@dataclass(frozen=True)
class Script:
    """What the ends are to do.

    Attributes:
        workload: its name and options (see `shaper.probe.workload.load`).
        host, port: of the server.
        timeout: the longest that either end plays, in ns.
    """

    workload: str = "netcat"
    host: str = HOST
    port: int = PORT
    timeout: int = 10 * s


@dataclass
class Process:
    """One end while it plays."""

    role: str
    process: trio.Process
    output: bytearray = field(default_factory=bytearray)
    set_up: trio.Event = field(default_factory=trio.Event)

    async def read(self) -> None:
        """Collect what it writes, until it ends."""
        assert self.process.stdout is not None
        async with self.process.stdout as stream:
            async for part in stream:
                self.output += part
                # The server's first line says that it listens, the client's that it is ready.
                if b"\n" in part:
                    self.set_up.set()
        self.set_up.set()

    async def go(self) -> None:
        """Let it begin."""
        assert self.process.stdin is not None
        try:
            await self.process.stdin.send_all(b"go\n")
        except trio.BrokenResourceError:
            return  # it is dead; its account says so

    def account(self) -> Account:
        return read_account(self.role, self.process.pid, self.output.decode(errors="replace").splitlines())


async def start(role: str, script: Script) -> Process:
    command = [sys.executable, "-m", "shaper.probe.play", role, script.workload, script.host, str(script.port)]
    seconds = f"{script.timeout / s:g}"
    process = await trio.lowlevel.open_process([*command, seconds], stdin=PIPE, stdout=PIPE)
    assert isinstance(process.stdout, trio.lowlevel.FdStream)
    fcntl(process.stdout.fileno(), F_SETPIPE_SZ, PIPE_SIZE)
    return Process(role, process)


async def play(
    script: Script, roles: tuple[str, ...] = ("server", "client"), *, path: trio.Event | None = None
) -> list[Account]:
    """Let the ends play a workload; what each did.

    Args:
        path: they begin when it is set: the path between them is ready.
    """
    ends = [await start(role, script) for role in roles]
    async with trio.open_nursery() as nursery:
        for end in ends:
            nursery.start_soon(end.read)
        for end in ends:
            await end.set_up.wait()
        if path is not None:
            await path.wait()
        for end in ends:
            await end.go()
        with trio.move_on_after(script.timeout / s + GRACE):
            for end in ends:
                await end.process.wait()
        for end in ends:
            if end.process.returncode is None:
                end.process.kill()
            await end.process.wait()
    return [end.account() for end in ends]
