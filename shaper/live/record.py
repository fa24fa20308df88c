"""Writes a run's journal, its captures and its marks in the kernel's trace, packet by packet."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from shaper.capture import CaptureWriter
from shaper.core.change import Change
from shaper.core.verdict import Verdict
from shaper.journal import Clocks, Journal
from shaper.live.marks import Marks
from shaper.policy.signal import SignalRecord
from shaper.wire.packet import Packet


class PacketRecorder:
    """Records each packet in the journal, the captures and the trace, as far as these are wanted.

    Args:
        journal: a file for JSON lines, or None.
        captures: pcapng files, each with the names of its interfaces, see `CaptureWriter`.
        policies: the pipeline, as it was given.
        seed: decides all chance.
        paired: each verdict is written in a system call of its own.
        forwarded: the packets are a router's.
        marks: a descriptor of the kernel's trace_marker, or None.

    Raises:
        OSError: a file can't be written.
    """

    def __init__(
        self,
        journal: Path | None,
        captures: Sequence[tuple[Path, Sequence[str]]],
        *,
        policies: tuple[str, ...],
        seed: int | str,
        paired: bool,
        forwarded: bool = False,
        marks: int | None = None,
    ) -> None:
        self._files = ExitStack()
        clocks = Clocks.now()
        self._journal: Journal | None = None
        self._captures: list[CaptureWriter] = []
        self._marks = None if marks is None else Marks(marks)
        if journal is not None:
            file = self._files.enter_context(journal.open("w", encoding="utf-8"))
            self._journal = Journal(
                file, policies=policies, seed=seed, paired=paired, clocks=clocks, forwarded=forwarded
            )
        for path, interfaces in captures:
            capture = CaptureWriter(path, interfaces=interfaces, offset=clocks.realtime - clocks.monotonic)
            self._captures.append(self._files.enter_context(capture))

    def arrived(self, packet: Packet) -> None:
        """The packet was taken; the core has not seen it yet."""
        for capture in self._captures:
            capture.arrived(packet)
        if self._marks is not None:
            self._marks.arrived(packet)

    def answered(self, verdict: Verdict, begin: int, end: int, tid: int) -> None:
        """The verdict was written by thread `tid` between these times (ns)."""
        if self._journal is not None:
            self._journal.record(verdict, begin=begin, end=end, tid=tid)
        for capture in self._captures:
            capture.verdict(verdict, end)
        if self._marks is not None:
            self._marks.answered(verdict)

    def signalled(self, given: SignalRecord) -> None:
        """The core was given a signal."""
        if self._journal is not None:
            self._journal.signalled(given)

    def changed(self, change: Change) -> None:
        """The core was changed."""
        if self._journal is not None:
            self._journal.changed(change)

    def flush(self) -> None:
        """Write to the files what is recorded so far."""
        if self._journal is not None:
            self._journal.flush()
        for capture in self._captures:
            capture.flush()

    def close(self) -> None:
        """Finish and close the files."""
        self._files.close()
