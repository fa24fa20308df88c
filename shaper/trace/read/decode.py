"""Turns the fields of the kernel's events, as they are recorded in binary, into those of the event model."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from shaper.trace.read.kernel import CLONE_THREAD, ETHERNET_HEADER, STATES, TCP_SYN_SENT, softirq
from shaper.trace.read.ring import REMEMBERED, Decode, Field, Fields, reader, text
from shaper.trace.read.syscalls import fields_of

Format = Mapping[str, Field]


def decoders(
    formats: Mapping[str, tuple[int, Format]], calls: Mapping[int, str], functions: Mapping[int, str]
) -> dict[int, tuple[str, Decode]]:
    """For the number of each recorded event its name in the model and what decodes its fields.

    `ring.read_page` takes this. Events that no analysis uses are left out.

    Args:
        formats: by the event's name, its number and fields.
        calls: the names of system calls by number.
        functions: the names of timer functions by address.
    """
    makers: dict[str, Callable[[Format], Decode]] = {
        "sched_switch": _switch,
        "sched_waking": _waking,
        "task_newtask": _newtask,
        "sched_process_exit": _exit_of,
        "sys_enter": lambda fields: _enter(fields, calls),
        "sys_exit": lambda fields: _exit(fields, calls),
        "softirq_entry": _softirq,
        "softirq_exit": _softirq,
        "irq_handler_entry": _irq,
        "irq_handler_exit": lambda fields: lambda page, at: {},
        "hrtimer_expire_entry": lambda fields: _hrtimer(fields, functions),
        "hrtimer_expire_exit": lambda fields: lambda page, at: {},
        "net_dev_queue": _queued,
        "inet_sock_set_state": _state,
    }
    renamed = {"task_newtask": "sched_process_fork"}
    return {
        number: (renamed.get(name, name), makers[name](fields))
        for name, (number, fields) in formats.items()
        if name in makers
    }


def _switch(fields: Format) -> Decode:
    read, comm = reader(fields, "prev_state", "next_pid"), text(fields["next_comm"])

    def decode(page: bytes, at: int) -> Fields:
        state, pid = read(page, at)
        return {"prev_state": STATES[state & 0xFF], "next_pid": pid, "next_comm": comm(page, at)}

    return decode


def _waking(fields: Format) -> Decode:
    read, comm = reader(fields, "pid"), text(fields["comm"])
    return lambda page, at: {"pid": read(page, at)[0], "comm": comm(page, at)}


def _newtask(fields: Format) -> Decode:
    read, comm = reader(fields, "pid", "clone_flags"), text(fields["comm"])

    def decode(page: bytes, at: int) -> Fields:
        pid, flags = read(page, at)
        return {"child_pid": pid, "child_comm": comm(page, at), "thread": int(bool(flags & CLONE_THREAD))}

    return decode


def _exit_of(fields: Format) -> Decode:
    read = reader(fields, "pid")
    return lambda page, at: {"pid": read(page, at)[0]}


def _enter(fields: Format, calls: Mapping[int, str]) -> Decode:
    # Of the six arguments only the first, which may be a file descriptor.
    first = fields["args"]._replace(size=8, kind="int", signed=False)
    read = reader({"id": fields["id"], "first": first}, "id", "first")
    known: dict[tuple[int, ...], Fields] = {}

    def decode(page: bytes, at: int) -> Fields:
        # The same few calls come again and again, so their fields are shared. No context is added to them: a call is
        # made in no interrupt.
        key = read(page, at)
        fields = known.get(key)
        if fields is None:
            if len(known) >= REMEMBERED:
                known.clear()
            fields = known[key] = fields_of(calls, *key)
        return fields

    return decode


def _exit(fields: Format, calls: Mapping[int, str]) -> Decode:
    read, name = reader(fields, "id", "ret"), calls.get

    def decode(page: bytes, at: int) -> Fields:
        number, result = read(page, at)
        return {"syscall": name(number, ""), "ret": result}

    return decode


def _softirq(fields: Format) -> Decode:
    read = reader(fields, "vec")
    return lambda page, at: {"vec": softirq(read(page, at)[0])}


def _irq(fields: Format) -> Decode:
    read, name = reader(fields, "irq"), text(fields["name"])
    return lambda page, at: {"irq": f"{read(page, at)[0]} {name(page, at)}"}


def _hrtimer(fields: Format, functions: Mapping[int, str]) -> Decode:
    read = reader(fields, "function")
    return lambda page, at: {"function": functions.get(read(page, at)[0], "")}


def _queued(fields: Format) -> Decode:
    read = reader(fields, "len")
    return lambda page, at: {"len": read(page, at)[0] - ETHERNET_HEADER}


def _state(fields: Format) -> Decode:
    read = reader(fields, "newstate")
    return lambda page, at: {"newstate": "TCP_SYN_SENT" if read(page, at)[0] == TCP_SYN_SENT else ""}
