"""Logs of strace, made with `strace -f -ttt -T -yy -o FILE COMMAND`: a trace without root.

strace doesn't see the scheduler. So the time that a call took stands for the time it
slept, unless it is shorter than SHORTEST: then the call may have run all the time. What
woke it is not known. Times are CLOCK_REALTIME, in ns.

Source: strace(1).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from heapq import heappop, heappush
from pathlib import Path
from typing import Any

from shaper.trace.read.events import TraceEvent, open_text
from shaper.trace.read.kernel import COMM_LENGTH
from shaper.trace.read.syscalls import FIRST_IS_FD
from shaper.units import ms, s

SHORTEST = 1 * ms
ALONE = 1
"""The pid of a process for which the log gives none."""

LINE = re.compile(r"(?:\[pid\s+(\d{1,10})\] |(\d{1,10})\s+)?(\d{6,12}\.\d{1,9}) (.*)")
CALL = re.compile(r"(\w+)\((.*)")
RESUMED = re.compile(r"<\.\.\. (\w+) resumed>(.*)")
RESULT = re.compile(r".*\)\s+= (-?\d{1,20}|0x[0-9a-f]+|\?).*?(?:<(\d+\.\d+)>)?$")
FD = re.compile(r"(\d+)(?:<(.*?)>)?[,)]")
PROGRAM = re.compile(r'"((?:[^"\\]|\\.)*)"')
OCTAL = re.compile(r"0[0-7]+")
ESCAPE = re.compile(rb"\\([0-7]{1,3})")
POLLED = re.compile(r"\[\{fd=(\d+)(?:<(.*?)>)?, [^{}]*\}\]")
# A set of one file descriptor; what it stands for may have brackets of its own.
SELECTED = re.compile(r"\[(\d+)(?:<((?:(?!> \d).)*?)>)?\](?=[,)])")
POLLS = ("poll", "ppoll", "ppoll_time64")
SELECTS = ("select", "_newselect", "pselect6", "pselect6_time64")
FORKS = ("clone", "clone3", "fork", "vfork")


def is_strace(lines: Sequence[str]) -> bool:
    """Whether at least one line is a call with its time."""
    return any((match := LINE.match(line)) and CALL.match(match[4]) for line in lines)


def lacks_durations(lines: Iterable[str]) -> bool:
    """Whether calls have returned, but none of these lines says how long its call took."""
    results = [RESULT.match(match[4]) for line in lines if (match := LINE.match(line.rstrip("\r\n")))]
    found = [result for result in results if result is not None and result[1] != "?"]
    return bool(found) and not any(result[2] for result in found)


def read_strace(path: Path) -> Iterator[TraceEvent]:
    """The calls of a log as events, in order. A call that is not short has a sleep as long as itself."""
    with open_text(path) as file:
        yield TraceEvent(0, 0, 0, "", "no_scheduler", {})
        yield from _in_order(_events(file))


def _in_order(events: Iterator[tuple[int, TraceEvent]]) -> Iterator[TraceEvent]:
    """Sort the events: a call's line has the time of its beginning, but also gives the event of its end."""
    ready: list[tuple[int, int, TraceEvent]] = []
    for number, (seen, event) in enumerate(events):
        heappush(ready, (event.at, number, event))
        while ready and ready[0][0] < seen:
            yield heappop(ready)[2]
    while ready:
        yield heappop(ready)[2]


def _events(lines: Iterator[str]) -> Iterator[tuple[int, TraceEvent]]:
    """Events, each with a time; no event before that time follows."""
    begun: dict[int, tuple[int, str, str]] = {}
    names: dict[int, str] = {}
    alive: set[int] = set()
    for line in lines:
        match = LINE.match(line.rstrip("\r\n"))
        if match is None:
            continue
        at, text = int(Decimal(match[3]) * s), match[4]
        if match[1] or match[2]:
            tid = int(match[1] or match[2])
            alive.add(tid)
        else:
            # Without -o, strace leaves out the pid where only one process is left.
            tid = next(iter(alive)) if len(alive) == 1 else ALONE
        since = min((start for start, _, _ in begun.values()), default=at)
        if text.startswith("+++"):
            alive.discard(tid)
            if tid in begun:
                # It was killed in a call, which slept until then.
                start, call, arguments = begun.pop(tid)
                for event in _call(tid, names.get(tid, ""), call, arguments, start, at - start, 0):
                    yield min(start, since), event
            yield min(at, since), TraceEvent(at, tid, tid, names.get(tid, ""), "sched_process_exit", {"pid": tid})
            continue
        resumed = RESUMED.match(text)
        if resumed is not None:
            if tid not in begun:
                continue
            start, call, arguments = begun.pop(tid)
            arguments += resumed[2]
        else:
            called = CALL.match(text)
            if called is None:
                continue
            start, call, arguments = at, called[1], called[2]
            if arguments.endswith("<unfinished ...>"):
                begun[tid] = start, call, arguments.removesuffix("<unfinished ...>")
                continue
        result = RESULT.match(arguments)
        if result is None:
            continue
        took = int(Decimal(result[2]) * s) if result[2] else 0
        value = _number(result[1])
        if call == "execve" and value == 0 and (program := PROGRAM.match(arguments)):
            names[tid] = _comm(program[1])
        for event in _call(tid, names.get(tid, ""), call, arguments, start, took, value):
            yield min(start, since), event
        if call in FORKS and value > 0:
            child = {"child_pid": value, "child_comm": names.get(tid, ""), "thread": int("CLONE_THREAD" in arguments)}
            names.setdefault(value, names.get(tid, ""))
            yield min(start, since), TraceEvent(start, tid, tid, names.get(tid, ""), "sched_process_fork", child)
    for tid, (start, call, arguments) in begun.items():
        # Still in the call when the log ended.
        comm = names.get(tid, "")
        yield start, TraceEvent(start, tid, tid, comm, "sys_enter", {"syscall": call, **_about(call, arguments)[0]})
        yield (
            start,
            TraceEvent(start, tid, tid, comm, "sched_switch", {"prev_state": "S", "next_pid": 0, "next_comm": ""}),
        )


def _number(result: str) -> int:
    """What a call returned: decimal, hexadecimal, octal for umask(2), or "?" if it did not return."""
    if result == "?":
        return 0
    return int(result, 16 if result.startswith("0x") else 8 if OCTAL.fullmatch(result) else 10)


def _comm(path: str) -> str:
    """The name that the kernel gives to a task which executes this file; strace writes bytes as in C."""
    name = ESCAPE.sub(lambda escaped: bytes((int(escaped[1], 8) & 0xFF,)), path.encode()).rpartition(b"/")[2]
    return name[:COMM_LENGTH].decode(errors="replace")


def _call(tid: int, comm: str, call: str, arguments: str, start: int, took: int, value: int) -> Iterator[TraceEvent]:
    about, file = _about(call, arguments)
    if file and "fd" in about:
        yield TraceEvent(start, tid, tid, comm, "file", {"pid": tid, "fd": about["fd"], "file": file})
    yield TraceEvent(start, tid, tid, comm, "sys_enter", {"syscall": call, **about})
    if took >= SHORTEST:
        yield TraceEvent(start, tid, tid, comm, "sched_switch", {"prev_state": "S", "next_pid": 0, "next_comm": ""})
        back = {"prev_state": "R", "next_pid": tid, "next_comm": comm}
        yield TraceEvent(start + took, tid, 0, "", "sched_switch", back)
    yield TraceEvent(start + took, tid, tid, comm, "sys_exit", {"syscall": call, "ret": value})


def _about(call: str, arguments: str) -> tuple[dict[str, Any], str]:
    """The file descriptor that the call is about, and the file that -y or -yy gives for it."""
    if call in POLLS:
        match = POLLED.match(arguments)
    elif call in SELECTS:
        match = SELECTED.search(arguments)
    else:
        match = FD.match(arguments)
        # Of other calls, the first argument may be any number; but what -y or -yy explains is a file descriptor.
        if match is not None and match[2] is None and call not in FIRST_IS_FD:
            match = None
    return ({}, "") if match is None else ({"fd": int(match[1])}, (match[2] or "").replace("->", " > "))
