"""`shaper up`: several places shaped at once, as a file says."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple, NoReturn

import typer

if TYPE_CHECKING:
    from shaper.places.file import Shaped

EXAMPLES = (
    "sudo shaper up shaping.toml",
    "shaper up shaping.toml --check",
)

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
"""What each `shaper start` gets too."""


class Process(NamedTuple):
    """One `shaper start`.

    Attributes:
        name: of its table.
        pid: the process.
        output: the descriptor from which its output is read.
    """

    name: str
    pid: int
    output: int


def up(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE.toml", help="A table for each place: the options of `shaper start` as keys."),
    ],
    check: Annotated[
        bool, typer.Option("--check", help="Check the file, print what would be started, and do nothing else.")
    ] = False,
) -> int:
    """Shape several places at once, as a file says, until Ctrl-C.

    Each table of the file is a `shaper start` of its own, with the table's name. Their
    lines begin with it, and `shaper status`, `set` and `stop` take it. The exit status
    is the highest of theirs.
    """
    from shaper.places.file import read

    found = read(str(file))
    if check:
        for one in found:
            print(f"{one.name}: shaper start {shlex.join(one.options)}")
        return 0
    import trio

    # Before trio runs, and before there is another thread.
    processes = [start(one) for one in found]
    return trio.run(supervise, processes)


def start(shaped: Shaped) -> Process:
    """Fork one `shaper start`, which ends in order when this process dies."""
    reading, writing = os.pipe()
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        be(shaped, writing)
    os.close(writing)
    return Process(shaped.name, pid, reading)


def be(shaped: Shaped, output: int) -> NoReturn:
    """Be that process.

    Args:
        shaped: its table.
        output: the descriptor that all its output goes to.
    """
    from shaper.cli import main
    from shaper.linux.libc import PR_SET_PDEATHSIG, prctl

    status = 1
    try:
        # A terminal's Ctrl-C comes from the one that supervises, once.
        os.setpgid(0, 0)
        prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        for descriptor in (sys.stdout.fileno(), sys.stderr.fileno()):
            os.dup2(output, descriptor)
        os.close(output)
        status = main(["start", *shaped.options])
    finally:
        sys.stdout.flush()
        os._exit(status)


async def supervise(processes: list[Process]) -> int:
    """Print what they say until all have ended; returns the highest status."""
    import trio

    running = {process.pid for process in processes}
    statuses = []
    width = max(len(process.name) for process in processes)

    def say(process: Process, line: str) -> None:
        print(f"{process.name:{width}} | {line}", flush=True)

    async def watch(process: Process) -> None:
        rest = b""
        async with trio.lowlevel.FdStream(process.output) as stream:
            async for some in stream:
                *lines, rest = (rest + some).split(b"\n")
                for line in lines:
                    say(process, line.decode(errors="replace"))
        running.remove(process.pid)
        _, status = await trio.to_thread.run_sync(os.waitpid, process.pid, 0)
        code = os.waitstatus_to_exitcode(status)
        statuses.append(code if code >= 0 else 1)
        if code:
            say(process, f"ended with status {code}" if code > 0 else f"was ended by signal {-code}")

    async def pass_signals_on(*, task_status: trio.TaskStatus[None]) -> None:
        with trio.open_signal_receiver(*SIGNALS) as signals:
            task_status.started()
            async for number in signals:
                for pid in running:
                    os.kill(pid, number)

    async with trio.open_nursery() as nursery:
        await nursery.start(pass_signals_on)
        async with trio.open_nursery() as watching:
            for process in processes:
                watching.start_soon(watch, process)
        nursery.cancel_scope.cancel()
    return max(statuses)
