"""The output of `perf trace`, which shows calls much as strace does.

    0.013 ( 0.004 ms): nc/290 read(fd: 3<socket:[77]>, buf: 0x7ffc, count: 4096)  = 16
    5.021 (         ): nc/290 poll(ufds: 0x7ffc, nfds: 1, timeout_msecs: -1)  ...
    5.021 (10.002 ms): nc/290  ... [continued]: poll())  = 1

Times are ms since the trace began, or those of the tracer's clock. Of a single thread, the task is left out.

Source: perf's builtin-trace.c (trace__fprintf_entry_head, trace__sys_exit).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from shaper.trace.read.calls import Calls
from shaper.trace.read.events import Trace, TraceEvent, open_text
from shaper.units import ms, us

LINE = re.compile(
    r"\s{0,20}(?:(?P<ms>\d{1,12})\.(?P<us>\d{3})|\?) \(\s{0,20}(?:(?P<took>\d{1,12})\.(?P<part>\d{3}) ms)?\s{0,20}\): "
    r"(?:(?:(?P<comm>.{0,64}?)/)?(?P<tid>\d{1,10}) )?\s{0,20}"
    r"(?P<more>\.\.\. \[continued\]: )?(?P<call>\w{1,64})\((?P<rest>.*)"
)
RESULT = re.compile(r".*\)\s+= (-?0x[0-9a-f]{1,16}|-?\d{1,20}|\?)")
ALONE = 1
"""The thread of a trace that has only one, and doesn't say which."""
LOST = re.compile(r"LOST (\d{1,18}) events")


def is_perf_trace(lines: Sequence[str]) -> bool:
    """Whether at least one line is a call."""
    return any(LINE.match(line) for line in lines)


def open_perf_trace(path: Path) -> Trace:
    """The calls of a file, as those of strace."""
    return Trace(_read(path), "own")


def _read(path: Path) -> Iterator[TraceEvent]:
    calls, last = Calls(us), 0
    yield TraceEvent(0, 0, 0, "", "no_scheduler", {})
    with open_text(path) as file:
        for line in file:
            match = LINE.match(line)
            if match is None:
                if (lost := LOST.search(line)) is not None:
                    yield TraceEvent(last, 0, 0, "", "lost", {"count": int(lost[1])})
                continue
            whole, part, took, took_part, comm, number, more, call, rest = match.groups()
            if whole is None:
                continue  # a call that had begun before the trace did
            at, tid = int(whole) * ms + int(part) * us, int(number or ALONE)
            duration = int(took) * ms + int(took_part) * us if took else 0
            if comm:
                calls.names[tid] = comm
            # A line comes when its call is over; times are those of the beginning.
            last = max(last, at + duration)
            yield from calls.until(last)
            if more:
                if calls.is_begun(tid):
                    result = RESULT.match(rest)
                    value = _number(result[1]) if result is not None else 0
                    calls.end(tid, duration, value, calls.resume(tid, rest))
                continue
            calls.cut(tid, at)
            result = RESULT.match(rest)
            if result is None:
                if rest.rstrip().endswith("..."):
                    calls.begin(tid, at, call, rest)
            elif call in ("exit", "exit_group"):
                calls.gone(tid, at)
            else:
                calls.whole(tid, at, duration, call, rest, _number(result[1]))
    yield from calls.close(last)


def _number(result: str) -> int:
    return 0 if result == "?" else int(result, 0)
