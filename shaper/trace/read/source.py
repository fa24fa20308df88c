"""Finds the reader for a trace."""

from __future__ import annotations

from pathlib import Path

from shaper.trace.read.events import Trace, TraceError, open_text
from shaper.trace.read.lttng import open_lttng
from shaper.trace.read.perf_trace import is_perf_trace, open_perf_trace
from shaper.trace.read.recording import is_recording, read_recording
from shaper.trace.read.refused import TAR, why_binary, why_refused
from shaper.trace.read.strace import is_strace, open_parts, open_strace, parts_of
from shaper.trace.read.text import is_text, open_text_trace, why_unread

LINES = 200
"""How many lines of a text are looked at together to find out what wrote it."""
MOST = 100_000
"""How many lines of a text are looked at before it is given up. A header may be long."""
LONGEST = 100_000
"""How many characters of a line are looked at."""


def read_trace(path: Path) -> Trace:
    """A trace of any known kind: its events in order, and their clock.

    Raises:
        TraceError: there is no such trace, its kind is not known, or it is cut off. Events before a cut were yielded.
    """
    try:
        return _opened(path)
    except OSError as error:
        raise TraceError(f"{path}: {error.strerror}") from None


def _opened(path: Path) -> Trace:
    if path.is_dir():
        if is_recording(path):
            return read_recording(path)
        if any(path.rglob("metadata")):
            return open_lttng(path)
        if parts := sorted(file for file in path.iterdir() if file.suffix[1:].isdecimal() and file.is_file()):
            return open_parts(parts)
        raise TraceError(f"{path}: neither a recording of `shaper trace` nor an LTTng trace (no file `metadata` in it)")
    if not path.exists():
        if parts := parts_of(path):
            return open_parts(parts)
        raise TraceError(f"{path}: no such trace")
    with path.open("rb") as raw:
        head = raw.read(TAR + 8)
    if said := why_binary(head):
        raise TraceError(f"{path}: {said}")
    with open_text(path) as file:
        first: list[str] = []
        for _ in range(MOST // LINES):
            lines = [line for _ in range(LINES) if (line := file.readline(LONGEST))]
            first = first or lines
            if is_strace(lines):
                return open_strace(path)
            if is_perf_trace(lines):
                return open_perf_trace(path)
            if is_text(lines):
                return open_text_trace(path, [*first, *lines] if lines is not first else lines)
            if len(lines) < LINES:
                break
    raise TraceError(f"{path}: {why_unread(first) or why_refused(first)}")
