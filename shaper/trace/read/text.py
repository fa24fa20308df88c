"""Traces as text: tracefs's `trace` and `trace_pipe`, `trace-cmd report`, `perf script`.

One regular expression reads them all:

    nc-290   [000] d..2.  18763.664: sched_switch: prev_comm=nc …        tracefs
    nc-290   [000]  18763.664: sched_switch: nc:290 [120] S ==> …        trace-cmd
    nc   290 [000]  18763.664: sched:sched_switch: prev_comm=nc …        perf
    nc 117/290 [000] 18763.664: sched:sched_switch: prev_comm=nc …       perf, with the process

Source: kernel/trace/trace_output.c, and the print formats under events/*/*/format.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from shaper.trace.read.events import Clock, TraceError, TraceEvent, open_text
from shaper.trace.read.kernel import CLONE_THREAD, ETHERNET_HEADER
from shaper.trace.read.syscalls import BY_NUMBER, fields_of

LINE = re.compile(
    # trace-cmd says from which of several buffers a line is.
    r"(?:[^\s:]+:\s{2,})?\s*(?P<comm>.+?)(?:-|\s+)(?:(?P<pid>\d{1,10})/)?(?P<tid>\d{1,10})\s+(?:\(\s*[-\d]+\)\s+)?\[(?P<cpu>\d{1,6})\]"
    r"\s+(?:(?P<flags>[^\s:]{4,6})\s+)?(?P<s>\d{1,12})\.(?P<fraction>\d+):"
    r"\s+(?:(?:\w+:)?(?P<name>\w+):\s*|(?P<call>sys_\w+)(?=\(| -> ))(?P<rest>.*)"
)
LOST = re.compile(r"CPU:?\s*(\d+)\s*\[(?:LOST (\d{1,18}) EVENTS|(\d{1,18}) EVENTS DROPPED)\]")
SWITCH = re.compile(
    r"prev_comm=.*? prev_pid=\d+ prev_prio=\d+ prev_state=(\S+) ==> next_comm=(.*?) next_pid=(\d+)|"
    r".*?:\d+ \[-?\d+\] (\S+) ==> (.*?):(\d+) \[-?\d+\]"
)
WAKING = re.compile(r"(?:comm=)?(.*?)(?: pid=|:)(\d+)\b")
FORK = re.compile(r"(?:parent_)?comm=.*? (?:parent_)?pid=\d+ child_comm=(.*?) child_pid=(\d+)")
NEWTASK = re.compile(r"pid=(\d+) comm=(.*?) clone_flags=(?:0x)?([0-9a-f]+)")
SYSCALL = re.compile(r"NR (-?\d+) \((\w+)")
RESULT = re.compile(r"NR (-?\d+) = (-?\w+)")
ACTION = re.compile(r"action=(\w+)")
IRQ = re.compile(r"irq=(\d+)(?: name=(\S*))?")
FUNCTION = re.compile(r"function=(\w+)")
LENGTH = re.compile(r"\blen=(\d+)")
STATE = re.compile(r"newstate=(\w+)")

CLOCKID = re.compile(r"# clockid: (\w+)")
CLOCKS: dict[str, Clock] = {"monotonic": "mono", "realtime": "wall", "boottime": "boot"}
TIMES_OF_DAY = 500_000_000
"""Times from this one on (s) are times of day: no machine has been up for 15 years, and none has traced in 1985."""

# The third flag: the context of the event (kernel/trace/trace_output.c, trace_print_lat_fmt).
CONTEXTS = {"h": "h", "H": "h", "Z": "h", "z": "h", "s": "s"}

Fields = dict[str, Any]


def is_text(lines: Sequence[str]) -> bool:
    """Whether at least one line is an event."""
    return any(LINE.match(line) for line in lines)


def clock_in(lines: Iterable[str]) -> Clock:
    """The clock of these lines. Only the header of `perf script --header` names it."""
    captured = False
    for line in lines:
        if line.startswith("# captured on"):
            captured = True
        elif named := CLOCKID.match(line):
            return CLOCKS.get(named[1], "own")
        elif event := LINE.match(line):
            if int(event["s"]) >= TIMES_OF_DAY:
                return "wall"
            break
    # Without -k, perf has a clock of its own.
    return "own" if captured else "unknown"


def read_text(path: Path) -> Iterator[TraceEvent]:
    """The events of a text file, in its order; other lines are ignored."""
    with open_text(path) as file:
        yield from read_lines(file)


def read_lines(lines: Iterable[str]) -> Iterator[TraceEvent]:
    """The events in these lines; other lines, and events that no analysis uses, are left out.

    Raises:
        TraceError: there are such events, but none has the form that the kernel prints.
    """
    at, count, strange = 0, 0, ""
    for line in lines:
        match = LINE.match(line)
        if match is None:
            lost = LOST.search(line)
            if lost:
                yield TraceEvent(at, int(lost[1]), 0, "", "lost", {"count": int(lost[2] or lost[3])})
            continue
        comm, pid, tid, cpu, flags, seconds, fraction, name, call, rest = match.groups()
        if call:
            # tracefs writes the events of events/syscalls as "sys_read(fd: 3, …)" and "sys_read -> 0x1".
            name = ("sys_enter_" if rest.startswith("(") else "sys_exit_") + call[4:]
        at = int(seconds) * 1_000_000_000 + int(fraction.ljust(9, "0")[:9])
        try:
            if name.startswith(("sys_enter_", "sys_exit_")):
                # From events/syscalls, which has an event for each call.
                fields: Fields | None = _named(name, rest)
                name = "sys_enter" if name.startswith("sys_enter_") else "sys_exit"
            else:
                convert = CONVERTERS.get(name)
                if convert is None:
                    continue
                fields = convert(rest)
        except ValueError:
            continue  # a number that is none: the line is damaged
        if fields is None:
            strange = name
            continue
        count += 1
        if pid:
            fields["tgid"] = int(pid)
        if flags and flags[2:3] in CONTEXTS:
            fields["context"] = CONTEXTS[flags[2:3]]
        if name == "task_newtask":
            name = "sched_process_fork"
        yield TraceEvent(at, int(cpu), int(tid), comm, name, fields)
    if strange and not count:
        raise TraceError(f"{strange} is not as the kernel prints it; give the output of `trace-cmd report` without -R")


def _named(name: str, rest: str) -> Fields | None:
    kind, _, call = name[4:].partition("_")
    if kind == "exit":
        result = re.search(r"(?:->|=)\s*(-?\w+)", rest)
        return {"syscall": call, "ret": int(result[1], 0) if result else 0}
    fd = re.search(r"\b(?:ep)?fd: (?:0x)?([0-9a-f]+)", rest)
    return {"syscall": call, **({"fd": int(fd[1], 16)} if fd else {})}


def _switch(rest: str) -> Fields | None:
    match = SWITCH.match(rest)
    if match is None:
        return None
    state, comm, tid = match[1] or match[4], match[2] or match[5], match[3] or match[6]
    # "R+" is preempted; of "S|K" and the like the first letter counts; "x" is dead, as "X" is.
    return {"prev_state": state[0].replace("x", "X"), "next_comm": comm, "next_pid": int(tid)}


def _waking(rest: str) -> Fields | None:
    match = WAKING.match(rest)
    return None if match is None else {"comm": match[1], "pid": int(match[2])}


def _fork(rest: str) -> Fields | None:
    match = FORK.match(rest)
    return None if match is None else {"child_comm": match[1], "child_pid": int(match[2])}


def _newtask(rest: str) -> Fields | None:
    match = NEWTASK.match(rest)
    if match is None:
        return None
    return {"child_pid": int(match[1]), "child_comm": match[2], "thread": int(bool(int(match[3], 16) & CLONE_THREAD))}


def _exited(rest: str) -> Fields | None:
    match = WAKING.match(rest)
    return None if match is None else {"pid": int(match[2])}


def _enter(rest: str) -> Fields | None:
    match = SYSCALL.match(rest)
    if match is None:
        return None
    return fields_of(BY_NUMBER, int(match[1]), int(match[2], 16))


def _exit(rest: str) -> Fields | None:
    match = RESULT.match(rest)
    if match is None:
        return None
    return {"syscall": BY_NUMBER.get(int(match[1]), ""), "ret": int(match[2], 0)}


def _softirq(rest: str) -> Fields | None:
    match = ACTION.search(rest)
    return None if match is None else {"vec": match[1]}


def _irq(rest: str) -> Fields | None:
    match = IRQ.search(rest)
    return None if match is None else {"irq": f"{match[1]} {match[2] or ''}".strip()}


def _hrtimer(rest: str) -> Fields | None:
    match = FUNCTION.search(rest)
    return {"function": match[1] if match else ""}


def _queued(rest: str) -> Fields | None:
    match = LENGTH.search(rest)
    return None if match is None else {"len": int(match[1]) - ETHERNET_HEADER}


def _state(rest: str) -> Fields | None:
    match = STATE.search(rest)
    return None if match is None else {"newstate": match[1]}


CONVERTERS: dict[str, Callable[[str], Fields | None]] = {
    "sched_switch": _switch,
    "sched_waking": _waking,
    "sched_process_fork": _fork,
    "task_newtask": _newtask,
    "sched_process_exit": _exited,
    "sys_enter": _enter,
    "sys_exit": _exit,
    "softirq_entry": _softirq,
    "softirq_exit": _softirq,
    "irq_handler_entry": _irq,
    "irq_handler_exit": _irq,
    "hrtimer_expire_entry": _hrtimer,
    "hrtimer_expire_exit": _hrtimer,
    "net_dev_queue": _queued,
    "inet_sock_set_state": _state,
}
