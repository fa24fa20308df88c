"""The fields of LTTng's events, from babeltrace2's text to those of the event model.

Source: lttng-modules' instrumentation/events and instrumentation/syscalls.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from shaper.trace.read.events import SOFTIRQS
from shaper.trace.read.syscalls import BY_NUMBER, FIRST_IS_FD, OPENING

FIELD = re.compile(r'(\w+) = ("(?:[^"\\]|\\.)*"|-?\w+)')
FDS = re.compile(r"\bfd = (-?\d+)")
POLLED = re.compile(r"\bfd = (-?\d+), raw_events = (0x[0-9A-Fa-f]+)")
# include/linux/sched.h: the bits of the state, the first letters as ps(1) has them.
STATES = {1: "S", 2: "D", 4: "T", 8: "t", 16: "X", 32: "Z", 64: "P", 128: "I"}

Fields = dict[str, Any]


def converter(name: str) -> Callable[[str], Fields] | None:
    """What reads the fields of this event; None for one that no analysis uses."""
    if name.startswith("syscall_"):
        return SYSCALLS.get(name) or (_enter if name.startswith("syscall_entry_") else _exit)
    return CONVERTERS.get(name)


def _scalars(payload: str) -> Fields:
    return {key: _value(value) for key, value in FIELD.findall(payload)}


def _value(text: str) -> Any:
    if text[0] == '"':
        return text[1:-1]
    try:
        return int(text, 0) if text[:1] != "0" or text[1:2] in ("x", "X") else int(text, 8)
    except ValueError:
        return text


def _switch(payload: str) -> Fields:
    fields = _scalars(payload)
    state = fields["prev_state"] & 0xFF
    name = STATES.get(state & -state, "R") if state else "R"
    return {"prev_state": name, "next_pid": fields["next_tid"], "next_comm": fields["next_comm"]}


def _waking(payload: str) -> Fields:
    fields = _scalars(payload)
    return {"pid": fields["tid"], "comm": fields["comm"]}


def _fork(payload: str) -> Fields:
    fields = _scalars(payload)
    thread = int(fields.get("child_pid", fields["child_tid"]) != fields["child_tid"])
    return {"child_pid": fields["child_tid"], "child_comm": fields["child_comm"], "thread": thread}


def _exited(payload: str) -> Fields:
    return {"pid": _scalars(payload)["tid"]}


def _softirq(payload: str) -> Fields:
    vector = _scalars(payload)["vec"]
    return {"vec": SOFTIRQS[vector] if vector < len(SOFTIRQS) else str(vector)}


def _irq(payload: str) -> Fields:
    fields = _scalars(payload)
    return {"irq": f"{fields['irq']} {fields.get('name', '')}".strip()}


def _hrtimer(payload: str) -> Fields:
    return {"function": str(FIELD.findall(payload)[-1][1])}


def _enter(payload: str) -> Fields:
    match = FDS.search(payload)
    return {"fd": int(match[1])} if match else {}


def _enter_named(payload: str) -> Fields:
    fields = _scalars(payload)
    address = re.findall(r"\] = (\d+)", payload)
    if len(address) == 4:
        fields["peer"] = f"{'.'.join(address)}:{fields.get('dport', fields.get('sport', 0))}"
    return fields


def _enter_poll(payload: str) -> Fields:
    """Those that are asked for something; a negative one is none (poll(2))."""
    fds = {int(fd) for fd, events in POLLED.findall(payload) if int(fd) >= 0 and int(events, 16)}
    return {"fd": fds.pop()} if len(fds) == 1 else {"fds": tuple(sorted(fds))}


def _enter_select(payload: str) -> Fields:
    """The bit masks of pselect6, a byte each."""
    fds = set()
    for mask in re.findall(r"fds = \[ (.*?) \]", payload):
        for index, byte in re.findall(r"\[(\d+)\] = (0x[0-9A-Fa-f]+)", mask + " ]"):
            fds |= {8 * int(index) + bit for bit in range(8) if int(byte, 16) >> bit & 1}
    return {"fd": fds.pop()} if len(fds) == 1 else {"fds": tuple(sorted(fds))}


def _enter_epoll(payload: str) -> Fields:
    return {"fd": _scalars(payload)["epfd"]}


def _unknown(payload: str) -> Fields:
    fields = _scalars(payload)
    call = BY_NUMBER.get(fields["id"], f"syscall {fields['id']}")
    arguments = re.search(r"\[0\] = (\d+)", payload)
    fd = {"fd": int(arguments[1])} if arguments and call in FIRST_IS_FD else {}
    return {"syscall": call, "ret": fields.get("ret", 0), **fd}


def _exit(payload: str) -> Fields:
    return {"ret": int(_scalars(payload).get("ret", 0))}


def _queued(payload: str) -> Fields:
    fields = _scalars(payload)
    sent: Fields = {"len": fields.get("tot_len", max(fields["len"] - 14, 0))}
    if "seq" in fields:
        sent |= {"sport": fields["source_port"], "dport": fields["dest_port"], "seq": fields["seq"]}
        sent |= {"ack": fields["ack_seq"]}
    return sent


def _task(payload: str) -> Fields:
    fields = _scalars(payload)
    return {"pid": fields["tid"], "of": fields["pid"], "comm": fields["name"], "parent": fields["ppid"],
            "files": fields.get("file_table_address")}  # fmt: skip


def _file(payload: str) -> Fields:
    fields = _scalars(payload)
    return {"files": fields.get("file_table_address"), "fd": fields["fd"], "file": fields["filename"]}


CONVERTERS: dict[str, Callable[[str], Fields]] = {
    "sched_switch": _switch,
    "sched_waking": _waking,
    "sched_process_fork": _fork,
    "sched_process_exit": _exited,
    "irq_softirq_entry": _softirq,
    "irq_softirq_exit": _softirq,
    "irq_handler_entry": _irq,
    "irq_handler_exit": _irq,
    "timer_hrtimer_expire_entry": _hrtimer,
    "timer_hrtimer_expire_exit": _hrtimer,
    "net_dev_queue": _queued,
    "lttng_statedump_process_state": _task,
    "lttng_statedump_file_descriptor": _file,
}
SYSCALLS: dict[str, Callable[[str], Fields]] = {
    "syscall_entry_poll": _enter_poll,
    "syscall_entry_ppoll": _enter_poll,
    "syscall_entry_select": _enter_select,
    "syscall_entry_pselect6": _enter_select,
    "syscall_entry_epoll_wait": _enter_epoll,
    "syscall_entry_epoll_pwait": _enter_epoll,
    "syscall_entry_unknown": _unknown,
    "syscall_exit_unknown": _unknown,
    **{f"syscall_entry_{call}": _enter_named for call in OPENING},
    "syscall_exit_accept": _enter_named,
    "syscall_exit_accept4": _enter_named,
    "syscall_exit_pipe": _enter_named,
    "syscall_exit_pipe2": _enter_named,
}
