"""`shaper trace`: record a program's system calls and wakeups with the kernel's tracer."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from shaper.cli.options import FigureFile, Json, duration
from shaper.cli.tracing import (
    LONGEST,
    All,
    ChromeFile,
    CsvFile,
    FoldedFile,
    Glance,
    Longest,
    RecordingDir,
    give,
    kept,
    tracing_of,
)
from shaper.errors import UsageError
from shaper.units import s

if TYPE_CHECKING:
    import trio

    from shaper.linux.command import Command
    from shaper.trace.tracing import Tracing

EXAMPLES = (
    "sudo shaper trace -- curl -s http://127.0.0.1:8000/",
    "sudo shaper trace --pid 4711 --duration 10s --chrome trace.json",
    "sudo shaper trace --recording DIR -- make test; shaper report DIR",
)


def trace(
    command: Annotated[
        list[str] | None, typer.Argument(metavar="COMMAND", help="The command and its arguments, after --.")
    ] = None,
    pid: Annotated[
        list[int] | None,
        typer.Option(metavar="N", help="Trace this running process and its descendants; may be repeated."),
    ] = None,
    time: Annotated[
        int | None,
        typer.Option("--duration", metavar="TIME", parser=duration, help="With --pid: stop after this time."),
    ] = None,
    recording: RecordingDir = None,
    longest: Longest = LONGEST,
    csv: CsvFile = None,
    chrome: ChromeFile = None,
    figure: FigureFile = None,
    folded: FoldedFile = None,
    glance: Glance = False,
    everything: All = False,
    json: Json = None,
) -> int:
    """Trace a program, and show which of its system calls slept, for how long, and what woke them.

    Follows all threads and descendants. Needs root and tracefs; without them a command is
    run under strace instead, which doesn't know what woke a call. The exit status is the
    command's; if that is 0, it is 1 if events were lost.
    """
    import trio

    from shaper.linux.command import Command
    from shaper.report.output import STDOUT, console, write_json
    from shaper.trace.read.source import read_trace
    from shaper.trace.report import report
    from shaper.trace.show import as_json

    if bool(command) == bool(pid):
        raise UsageError("give either a command after --, or --pid N")
    if time is not None and not pid:
        raise UsageError("--duration needs --pid; a command is traced until it ends")
    with kept(recording) as directory:
        title = " ".join(f"pid {each}" for each in pid or ())
        if pid:
            trio.run(_watch, directory, pid, time)
            status, result = 0, report(read_trace(directory), pids=pid, listed=longest)
        else:
            tracing = tracing_of(list(command or ()), directory)
            child = Command(
                tracing.command,
                stdout=sys.stderr.fileno() if json == STDOUT else None,
                through_strace=tracing.why_strace is not None,
            )
            title, status = shlex.join(command or ()), trio.run(_run, tracing, child)
            result, _ = tracing.report(None, child.pid, longest)
        # Standard output is the command's.
        incomplete = give(
            result,
            (),
            console(STDOUT),
            title=title,
            csv=csv,
            chrome=chrome,
            figure=figure,
            folded=folded,
            glance=glance,
            everything=everything,
        )
    write_json(as_json(result), json)
    return status or incomplete


async def _run(tracing: Tracing, child: Command) -> int:
    """Record a command from its first instruction to its end; returns its exit status."""
    import trio

    from shaper.live.nursery import ungrouped

    try:
        with ungrouped():
            async with trio.open_nursery() as nursery:
                await nursery.start(child.pass_signals_on)
                with tracing.of(child.pid):
                    child.release()
                    status = await child.wait()
                nursery.cancel_scope.cancel()
    except BaseException:
        child.send_signal(signal.SIGKILL)
        raise
    return status


async def _watch(directory: Path, pids: Sequence[int], time: int | None) -> None:
    """Record running processes until they end, the time (ns) is over, or a SIGINT or SIGTERM comes."""
    import trio

    from shaper.trace.record.recorder import TraceRecorder

    for pid in pids:
        if not Path("/proc", str(pid)).exists():
            raise UsageError(f"there is no process {pid}")
    with TraceRecorder(directory, pids), trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as received:
        with trio.move_on_after(float("inf") if time is None else time / s):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_await_ends, pids, nursery.cancel_scope)
                async for _ in received:
                    nursery.cancel_scope.cancel()


async def _await_ends(pids: Sequence[int], scope: trio.CancelScope) -> None:
    """Cancel the scope once all of these processes have ended."""
    import trio

    for pid in pids:
        with suppress(ProcessLookupError):
            descriptor = os.pidfd_open(pid)
            try:
                await trio.lowlevel.wait_readable(descriptor)
            finally:
                os.close(descriptor)
    scope.cancel()
