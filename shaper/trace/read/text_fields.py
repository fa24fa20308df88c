"""The fields of the events of a trace as text, as the kernel and libtraceevent print them.

Source: the print formats under events/*/*/format; libtraceevent's plugins/plugin_sched_switch.c.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from shaper.trace.read.kernel import CLONE_THREAD, ETHERNET_HEADER, STATES
from shaper.trace.read.syscalls import FIRST_IS_FD, IN_KERNEL, fields_of

SWITCH = re.compile(
    r"prev_comm=.*? prev_pid=\d+ prev_prio=-?\d+ prev_state=(\S+) ==> next_comm=(.*?) next_pid=(\d+)|"
    r"(?:task )?.*?:\d+ \[-?\d+\] \(?([^\s)]+)\)? ==> (.*?):(\d+) \[-?\d+\]"
)
WAKING = re.compile(r"comm=(.*?) pid=(\d+)\b|(?:task )?(.*?):(\d+) \[")
FORK = re.compile(
    r"(?:(?:parent_)?comm=.*? (?:parent_)?pid=\d+ child_comm=|parent .*?:\d+ +child )(.*?)(?: child_pid=|:)(\d+)"
)
NEWTASK = re.compile(r"pid=(\d+) comm=(.*?) clone_flags=(?:0x)?([0-9a-f]+)")
SYSCALL = re.compile(r"NR (-?\d+) \((\w+)")
RESULT = re.compile(r"NR (-?\d+) = (-?\w+)")
ACTION = re.compile(r"action=(\w+)")
IRQ = re.compile(r"irq=(\d+)(?: name=(\S*))?")
FUNCTION = re.compile(r"function=(\w+)")
RETURNED = re.compile(r"\s*(?:->|=)?\s*(-?0x[0-9a-f]+|-?\d+)\s*$")
FIRST_FD = re.compile(r"\(?\w+: (?:0x)?([0-9a-f]+)")
ANY_FD = re.compile(r"\b(?:ep)?fd: (?:0x)?([0-9a-f]+)")
LENGTH = re.compile(r"\blen=(\d+)")
STATE = re.compile(r"newstate=(\w+)")

OLD_STATES = {"x": "X", "n": "R", "N": "D", "K": "D", "W": "D"}
"""Letters of kernels before 4.14: dead; new; and parts of others (include/trace/events/sched.h)."""

Fields = dict[str, Any]


def named(name: str, rest: str) -> Fields | None:
    """The fields of an event of events/syscalls, which has an event for each call."""
    kind, _, call = name[4:].partition("_")
    call = IN_KERNEL.get(call, call)
    if kind == "exit":
        result = RETURNED.match(rest)
        value = int(result[1], 0) if result else 0
        return {"syscall": call, "ret": value - (1 << 64) if value >= 1 << 63 else value}
    fd = (FIRST_FD if call in FIRST_IS_FD else ANY_FD).search(rest)
    number = int(fd[1], 16) if fd else -1
    return {"syscall": call, **({"fd": number} if 0 <= number < 1 << 31 else {})}


def _switch(rest: str) -> Fields | None:
    match = SWITCH.match(rest)
    if match is None:
        return None
    state, comm, tid, plain, name, number = match.groups()
    if state is None:
        state, comm, tid = plain, name, number
    # "R+" is preempted; of "S|K" and the like the first letter counts.
    letter = state[0]
    if letter in "0123456789":
        letter = STATES[int(state, 0) & 0xFF]
    return {"prev_state": OLD_STATES.get(letter, letter), "next_comm": comm, "next_pid": int(tid)}


def _waking(rest: str) -> Fields | None:
    match = WAKING.match(rest)
    if match is None:
        return None
    comm, pid, name, number = match.groups()
    return {"comm": name, "pid": int(number)} if comm is None else {"comm": comm, "pid": int(pid)}


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
    return None if match is None else {"pid": int(match[2] or match[4])}


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


def converters(names: Mapping[int, str]) -> dict[str, Callable[[str], Fields | None]]:
    """What reads the fields of each event, with these names of system calls by number."""

    def enter(rest: str) -> Fields | None:
        match = SYSCALL.match(rest)
        return None if match is None else fields_of(names, int(match[1]), int(match[2], 16))

    def leave(rest: str) -> Fields | None:
        match = RESULT.match(rest)
        return None if match is None else {"syscall": names.get(int(match[1]), ""), "ret": int(match[2], 0)}

    return CONVERTERS | {"sys_enter": enter, "sys_exit": leave}


CONVERTERS: dict[str, Callable[[str], Fields | None]] = {
    "sched_switch": _switch,
    "sched_waking": _waking,
    "sched_process_fork": _fork,
    "task_newtask": _newtask,
    "sched_process_exit": _exited,
    "softirq_entry": _softirq,
    "softirq_exit": _softirq,
    "irq_handler_entry": _irq,
    "irq_handler_exit": _irq,
    "hrtimer_expire_entry": _hrtimer,
    "hrtimer_expire_exit": _hrtimer,
    "net_dev_queue": _queued,
    "inet_sock_set_state": _state,
}
