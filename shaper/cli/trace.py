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

    from shaper.journal import Record
    from shaper.linux.command import Command
    from shaper.trace.tracing import Tracing

EXAMPLES = (
    "sudo shaper trace -- curl -s http://127.0.0.1:8000/",
    "sudo shaper trace --pid 4711 --duration 10s --chrome trace.json",
    "sudo shaper trace --pid 4711 --with 100",
    "sudo shaper trace --recording DIR -- make test; shaper report DIR",
)


def journal_of(name: str) -> Path:
    """Parse the value of --with: a journal, or a running shaper that writes one, by its name or its queue's number."""
    from shaper.control.client import Client, running
    from shaper.journal import is_journal
    from shaper.live.nfqueue.counters import binder

    if is_journal(Path(name)):
        return Path(name)
    if name in running():
        queue = int(Client(name).status()["queues"][0])
    elif name.isdecimal():
        queue = int(name)
    else:
        raise typer.BadParameter(f"{name} is neither a running shaper, nor a queue's number, nor a journal")
    pid = binder(queue)
    if pid is None:
        raise typer.BadParameter(f"no shaper is bound to queue {queue} in this network namespace")
    for file in Path(f"/proc/{pid}/fd").glob("*"):
        if file.is_file() and is_journal(file):
            return file.readlink()
    raise typer.BadParameter(f"the shaper of queue {queue} writes no journal; start it with --journal FILE --pair")


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
    journal: Annotated[
        Path | None,
        typer.Option(
            "--with",
            metavar="NAME|FILE",
            parser=journal_of,
            help="Show which packets were to blame, of a shaper that runs meanwhile: its name, the number of its "
            "queue, or its journal. Start it with --journal FILE --pair.",
        ),
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
    """Trace a program, and show which of its calls slept, and why.

    The report says how long each system call slept, and what woke it. Follows all threads
    and descendants. Needs root and tracefs; without them a command is run under strace
    instead, which doesn't know what woke a call. The exit status is the command's; if that
    is 0, it is 1 if events were lost.
    """
    from time import sleep

    import trio

    from shaper.journal import FLUSH_INTERVAL, read_journal
    from shaper.linux.command import Command
    from shaper.report.output import STDOUT, console, write_json
    from shaper.report.progress import reading
    from shaper.trace.analysis.clocks import on_clock
    from shaper.trace.read.source import read_trace
    from shaper.trace.report import report
    from shaper.trace.show import as_json

    if bool(command) == bool(pid):
        raise UsageError("give either a command after --, or --pid N")
    if time is not None and not pid:
        raise UsageError("--duration needs --pid; a command is traced until it ends")
    out = console(STDOUT)  # standard output is the command's
    with kept(recording) as directory:
        title = " ".join(f"pid {each}" for each in pid or ())
        if pid:
            trio.run(_watch, directory, pid, time)
            recorded = read_trace(directory)
            records: Sequence[Record] = ()
            if journal is not None:
                sleep(2 * FLUSH_INTERVAL / s)
                records = on_clock(recorded.clock, *read_journal(journal, grows=True))
            with reading(directory, out):
                status, result = 0, report(recorded, records, pids=pid, listed=longest)
        else:
            tracing = tracing_of(list(command or ()), directory)
            child = Command(
                tracing.command,
                stdout=sys.stderr.fileno() if json == STDOUT else None,
                through_strace=tracing.why_strace is not None,
            )
            title, status = shlex.join(command or ()), trio.run(_run, tracing, child)
            if journal is not None:
                sleep(2 * FLUSH_INTERVAL / s)
            with reading(tracing.trace, out):
                result, records = tracing.report(journal, [child.pid], longest)
        incomplete = give(
            result,
            records,
            out,
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
                with tracing.of([child.pid]):
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
