"""From the fields of the kernel's events, as recorded in binary, to those of the event model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from struct import Struct

from shaper.trace.events import SOFTIRQS
from shaper.trace.ring import Decode, Field, Fields, getter
from shaper.trace.syscalls import fields_of

CLONE_THREAD = 0x10000
ETHERNET = 14
# include/linux/sched.h: the bits of a task's state that sched_switch reports, as ps(1) has them; the rest means
# that it could have run on.
STATES = {1: "S", 2: "D", 4: "T", 8: "t", 16: "X", 32: "Z", 64: "P", 128: "I"}
# include/net/tcp_states.h
SYN_SENT = 2

Format = Mapping[str, Field]


def decoders(
    formats: Mapping[str, tuple[int, Format]], calls: Mapping[int, str], functions: Mapping[int, str]
) -> dict[int, tuple[str, Decode]]:
    """What `ring.read_page` needs for the recorded events.

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
    state, pid = getter(fields["prev_state"]), getter(fields["next_pid"])
    comm = getter(fields["next_comm"])
    # Decoding a name costs as much as the rest, and few differ.
    start, size = fields["next_comm"].offset, fields["next_comm"].size
    known: dict[bytes, str] = {}

    def decode(page: bytes, at: int) -> Fields:
        bits = state(page, at) & 0xFF
        raw = page[at + start : at + start + size]
        name = known.get(raw)
        if name is None:
            if len(known) > 10_000:
                known.clear()
            name = known[raw] = comm(page, at)
        return {
            "prev_state": STATES[bits & -bits] if bits else "R",
            "next_pid": pid(page, at),
            "next_comm": name,
        }

    return decode


def _waking(fields: Format) -> Decode:
    pid, comm = getter(fields["pid"]), getter(fields["comm"])
    return lambda page, at: {"pid": pid(page, at), "comm": comm(page, at)}


def _newtask(fields: Format) -> Decode:
    pid, comm, flags = getter(fields["pid"]), getter(fields["comm"]), getter(fields["clone_flags"])
    return lambda page, at: {
        "child_pid": pid(page, at),
        "child_comm": comm(page, at),
        "thread": int(bool(flags(page, at) & CLONE_THREAD)),
    }


def _exit_of(fields: Format) -> Decode:
    pid = getter(fields["pid"])
    return lambda page, at: {"pid": pid(page, at)}


def _enter(fields: Format, calls: Mapping[int, str]) -> Decode:
    number = getter(fields["id"])
    arguments, offset = Struct("<6Q").unpack_from, fields["args"].offset
    return lambda page, at: fields_of(calls, number(page, at), arguments(page, at + offset))


def _exit(fields: Format, calls: Mapping[int, str]) -> Decode:
    number, result = getter(fields["id"]), getter(fields["ret"])
    return lambda page, at: {"syscall": calls.get(number(page, at), ""), "ret": result(page, at)}


def _softirq(fields: Format) -> Decode:
    vector = getter(fields["vec"])
    named = [{"vec": name} for name in SOFTIRQS]

    def decode(page: bytes, at: int) -> Fields:
        value = vector(page, at)
        return dict(named[value]) if value < len(named) else {"vec": str(value)}

    return decode


def _irq(fields: Format) -> Decode:
    number, name = getter(fields["irq"]), getter(fields["name"])
    return lambda page, at: {"irq": f"{number(page, at)} {name(page, at)}"}


def _hrtimer(fields: Format, functions: Mapping[int, str]) -> Decode:
    function = getter(fields["function"])
    return lambda page, at: {"function": functions.get(function(page, at), "")}


def _queued(fields: Format) -> Decode:
    length = getter(fields["len"])
    return lambda page, at: {"len": length(page, at) - ETHERNET}


def _state(fields: Format) -> Decode:
    state = getter(fields["newstate"])
    return lambda page, at: {"newstate": "TCP_SYN_SENT" if state(page, at) == SYN_SENT else ""}
