"""Writes a run's journal and capture, packet by packet."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from shaper.capture import CaptureWriter
from shaper.journal import Clocks, Journal
from shaper.packet import Packet
from shaper.pipeline import Verdict


class Recorder:
    """Tells the journal and the capture, as far as there are any, of each packet.

    Args:
        journal: a file for JSON lines, or None.
        capture: a pcapng file, or None.
        policies: the pipeline, as it was given.
        seed: decides all chance.
        paired: each verdict is written by itself.

    Raises:
        OSError: a file can't be written.
    """

    def __init__(
        self, journal: Path | None, capture: Path | None, *, policies: tuple[str, ...], seed: int | str, paired: bool
    ) -> None:
        self._files = ExitStack()
        clocks = Clocks.now()
        self._journal: Journal | None = None
        self._capture: CaptureWriter | None = None
        if journal is not None:
            file = self._files.enter_context(journal.open("w", encoding="utf-8"))
            self._journal = Journal(file, policies=policies, seed=seed, paired=paired, clocks=clocks)
        if capture is not None:
            self._capture = CaptureWriter(capture, offset=clocks.realtime - clocks.monotonic)
            self._files.callback(self._capture.close)

    def arrived(self, packet: Packet) -> None:
        """The packet was taken; the core has not seen it yet."""
        if self._capture is not None:
            self._capture.arrived(packet)

    def answered(self, verdict: Verdict, begin: int, end: int, tid: int) -> None:
        """The verdict was written by thread `tid` between these times, in ns."""
        if self._journal is not None:
            self._journal.record(verdict, begin=begin, end=end, tid=tid)
        if self._capture is not None:
            self._capture.verdict(verdict, end)

    def close(self) -> None:
        self._files.close()
