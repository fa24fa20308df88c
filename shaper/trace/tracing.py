"""How a command is traced: by the kernel, or by strace where the kernel can't be asked."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from shaper.journal import Record, read_journal
from shaper.linux import programs
from shaper.trace.analysis.clocks import on_clock
from shaper.trace.read.events import TraceError
from shaper.trace.read.source import read_trace
from shaper.trace.record.recorder import TraceRecorder
from shaper.trace.record.tracefs import obstacle
from shaper.trace.report import LISTED, TraceReport, report


class Tracing:
    """The tracing of one command, and of others that run beside it; strace can't do the latter.

    Args:
        command: the command to trace.
        directory: where the trace is written.

    Attributes:
        command: the command to start.
        trace: the trace, for `read_trace`.
        why_strace: why strace traces it and not the kernel; None if the kernel does.

    Raises:
        ProgramError: there is no such program, or it can't be run.
        TraceError: neither is possible here.
    """

    def __init__(self, command: Sequence[str], directory: Path) -> None:
        programs.check(command[0])
        self.why_strace = obstacle()
        self.command, self.trace = list(command), directory
        if self.why_strace is not None:
            strace = shutil.which("strace")
            if strace is None:
                raise TraceError(f"{self.why_strace}; and strace is not installed to stand in: apt install strace")
            self.trace = directory / "calls.strace"
            self.command = [strace, "-f", "-ttt", "-T", "-yy", "-o", str(self.trace), "--", *command]

    def of(self, pids: Sequence[int]) -> AbstractContextManager[object]:
        """Records the processes while it is entered. Until then they must wait."""
        return nullcontext() if self.why_strace is not None else TraceRecorder(self.trace, list(pids))

    def report(
        self, journal: Path | None, pids: Sequence[int], longest: int = LISTED
    ) -> tuple[TraceReport, Sequence[Record]]:
        """The report of the processes and their descendants, and the journal's packets, on the trace's clock.

        Args:
            journal: of a shaper that ran meanwhile, and may still be running.
            longest: how many blockings to list.

        Raises:
            TraceError: the trace can't be read.
            JournalError: the journal can't be read.
        """
        trace = read_trace(self.trace)
        records = on_clock(trace.clock, *read_journal(journal, grows=True)) if journal is not None else []
        traced = [] if self.why_strace is not None else list(pids)
        return report(trace, records, pids=traced, listed=longest), records
