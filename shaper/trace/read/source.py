"""Finds the reader for a trace."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

from shaper.trace.read.events import Trace, TraceError, open_text
from shaper.trace.read.lttng import described, read_lttng
from shaper.trace.read.recording import is_recording, read_recording
from shaper.trace.read.strace import is_strace, lacks_durations, read_strace
from shaper.trace.read.text import clock_in, is_text, read_text

LINES = 200
"""How many lines of a text are looked at to find out what wrote it."""


def read_trace(path: Path) -> Trace:
    """A trace of any known kind: its events in order, and their clock.

    Raises:
        TraceError: there is no such trace, its kind is not known, or it is cut off. Events before a cut were yielded.
    """
    if path.is_dir():
        if is_recording(path):
            return read_recording(path)
        if any(path.rglob("metadata")):
            return Trace(read_lttng(path), *described(path))
        raise TraceError(f"{path}: neither a recording of `shaper trace` nor an LTTng trace (no file `metadata` in it)")
    if not path.exists():
        raise TraceError(f"{path}: no such trace")
    with open_text(path) as file:
        beginning = list(islice(file, LINES))
    if is_strace(beginning):
        if lacks_durations(beginning):
            raise TraceError(f"{path}: no durations of calls; record with -T: strace -f -ttt -T -yy -o FILE COMMAND")
        return Trace(read_strace(path), "wall")
    if is_text(beginning):
        return Trace(read_text(path), clock_in(beginning))
    raise TraceError(
        f"{path}: not a known kind of trace; of perf.data, give the output of `perf script`, "
        "of trace.dat that of `trace-cmd report`"
    )
