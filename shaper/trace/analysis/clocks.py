"""A journal beside a trace: its packets on the trace's clock."""

from __future__ import annotations

from collections.abc import Sequence

from shaper.journal import Header, Record
from shaper.trace.read.events import Clock, TraceError
from shaper.units import s

NAMES: dict[Clock, str] = {"boot": "CLOCK_BOOTTIME", "own": "a clock of the tracer's own"}
MONOTONIC = "CLOCK_MONOTONIC (perf record -k CLOCK_MONOTONIC, trace-cmd record -C mono, trace_clock mono of tracefs)"


def on_clock(clock: Clock, header: Header, records: Sequence[Record]) -> list[Record]:
    """The journal's packets with times on the trace's clock.

    A journal's times are on CLOCK_MONOTONIC, and its header has one moment on the wall clock too. The packets of a
    replay have the times of their capture, which are taken as they are; so is a clock that the trace doesn't name.

    Raises:
        TraceError: the times of the two clocks have no known relation; one line says so.
    """
    monotonic, realtime = header.clocks
    if not monotonic and not realtime:
        return list(records)
    if clock in NAMES:
        raise TraceError(
            f"the trace's times are of {NAMES[clock]}, the journal's of CLOCK_MONOTONIC, and nothing says how they are "
            f"related: record the trace with {MONOTONIC}"
        )
    return [record.moved(realtime - monotonic) for record in records] if clock == "wall" else list(records)


def check_overlap(records: Sequence[Record], first: int, last: int) -> None:
    """Check that some packets are of the trace's time, which is from `first` to `last` (ns).

    Raises:
        TraceError: none is; one line says so.
    """
    if not records or any(record.arrived <= last and record.end >= first for record in records):
        return
    begin, end = min(record.arrived for record in records), max(record.end for record in records)
    raise TraceError(
        f"the trace is from {first / s:.3f} to {last / s:.3f} s, the journal's packets are from {begin / s:.3f} to "
        f"{end / s:.3f} s: give the journal of a shaper that ran meanwhile, and record the trace with {MONOTONIC}"
    )
