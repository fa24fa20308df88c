"""LTTng kernel traces (CTF), read through the command babeltrace2.

The command's text output is ten times as fast as its Python binding, which usually only
the system's own Python can import. Times are cycles of the trace's clock, which LTTng
takes from CLOCK_MONOTONIC, in ns.

Sources: lttng-modules' instrumentation/events and instrumentation/syscalls; babeltrace2-sink.text.pretty(7).
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from io import TextIOWrapper
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, NamedTuple

from shaper.trace.read.events import Clock, Trace, TraceError, TraceEvent
from shaper.trace.read.kernel import ETHERNET_HEADER, OLD_STATES, STATES, softirq
from shaper.trace.read.syscalls import BY_NUMBER, FIRST_IS_FD, OPENING

LINE = re.compile(r"\[0*(\d{1,20})\] (?:\S+ )?(\w+): \{ cpu_id = (\d{1,6}) \}, \{ (.*) \}$")
FIELD = re.compile(r'\b(\w{1,64}) = ("(?:[^"\\]|\\.)*"|-?\w+)')
ESCAPED = re.compile(r"\\(.)")
ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
FDS = re.compile(r"\bfd = (-?\d+)")
POLLED = re.compile(r"\bfd = (-?\d+), raw_events = (0x[0-9A-Fa-f]+)")
DISCARDED = re.compile(r"discarded (\d{1,18}) (event|packet)s?")
# An enumeration: its label, and the number, which is what counts.
LABELLED = re.compile(r"\( [^()]* : container = (-?\w+) \)")
ENVIRONMENT = re.compile(rb'\b(domain|tracer_name|kernel_release) = "([^"]*)"')
UUID = re.compile(rb'\buuid = "([0-9a-f-]+)"')
RELEASE = re.compile(r"(\d+)\.(\d+)")
NEW_STATES = (4, 14)
"""The version of the kernel from which on prev_state has the numbers of STATES."""
CLOCK = re.compile(rb'\bclock \{\s+name = "?(\w+)"?;.*?\bfreq = (\d+);', re.DOTALL)
EVENT = re.compile(rb'\bevent \{\s+name = "?([\w:]+)')
# The fields of the context, before those of the event. Names may hold the text that separates them.
CONTEXT = re.compile(r'((?:\w{1,64} = (?:"(?:[^"\\]|\\.)*"|-?\w+)(?:, |(?= \})))+) \}, \{(?: |$)')
LENGTH = re.compile(r"\blen = (\d+)")
RENAMED = {
    "irq_softirq_entry": "softirq_entry",
    "irq_softirq_exit": "softirq_exit",
    "timer_hrtimer_expire_entry": "hrtimer_expire_entry",
    "timer_hrtimer_expire_exit": "hrtimer_expire_exit",
    "lttng_statedump_process_state": "task",
    "lttng_statedump_file_descriptor": "file",
}

Fields = dict[str, Any]


class _Part(NamedTuple):
    """One trace below a folder: of the kernel, or of another domain.

    Attributes:
        folder: which has its metadata and streams.
        domain: "kernel", "ust", "perf", or what else its metadata say.
        uuid: the same for all parts of a session that was rotated or of which snapshots were taken.
        states: the letters for prev_state.
        metadata: as they are.
    """

    folder: Path
    domain: str
    uuid: bytes
    states: Sequence[str]
    metadata: bytes


def open_lttng(path: Path) -> Trace:
    """The kernel's trace in this folder, or below it.

    Raises:
        TraceError: there is none, or there are several; or as `read_lttng` says.
    """
    parts = [_part(file) for file in sorted(path.rglob("metadata")) if file.is_file()]
    kernel = [part for part in parts if part.domain == "kernel"]
    if not kernel:
        domains = sorted({part.domain for part in parts})
        if "perf" in domains:
            raise TraceError(f"{path}: a CTF trace of perf; give the output of `perf script` of its perf.data")
        if "ust" in domains:
            raise TraceError(
                f"{path}: an LTTng trace of user space, in which no task sleeps; record the kernel, too: "
                "lttng enable-event -k"
            )
        raise TraceError(f"{path}: a CTF trace, but not one that LTTng made of the kernel ({', '.join(domains)})")
    if len({part.uuid for part in kernel}) > 1:
        folders = ", ".join(sorted(str(part.folder.relative_to(path)) for part in kernel)[:5])
        raise TraceError(f"{path}: {len(kernel)} traces; give one of them: {folders}")
    metadata = b"".join(part.metadata for part in kernel)
    clock: Clock = "mono" if set(CLOCK.findall(metadata)) == {(b"monotonic", b"1000000000")} else "unknown"
    recorded = frozenset(_model(name.decode()) for name in EVENT.findall(metadata))
    # The clock's offset, by which cycles become times of day, is not used.
    return Trace(read_lttng(path, [part.folder for part in kernel], kernel[0].states), clock, recorded)


def _part(file: Path) -> _Part:
    metadata = file.read_bytes()
    known = {key.decode(): value.decode(errors="replace") for key, value in ENVIRONMENT.findall(metadata)}
    tracer = known.get("tracer_name", "")
    domain = known.get("domain", "")
    if tracer == "perf":
        domain = "perf"
    elif not domain or (domain == "kernel" and tracer not in ("", "lttng-modules")):
        domain = tracer or ("kernel" if not known or b"sched_switch" in metadata else "of an unknown tracer")
    release = RELEASE.match(known.get("kernel_release", ""))
    old = release is not None and (int(release[1]), int(release[2])) < NEW_STATES
    found = UUID.search(metadata)
    return _Part(file.parent, domain, found[1] if found else b"", OLD_STATES if old else STATES, metadata)


def read_lttng(path: Path, folders: Sequence[Path] = (), states: Sequence[str] = STATES) -> Iterator[TraceEvent]:
    """The events of an LTTng trace directory, in order; if events were lost, `lost` is the last one.

    Args:
        path: the trace.
        folders: those of its parts that are read; all if there are none.
        states: the letter of ps(1) for the low eight bits of prev_state.

    Raises:
        TraceError: babeltrace2 is not installed, or can't read the trace to its end, or finds no event's file.
    """
    command = shutil.which("babeltrace2")
    if command is None:
        raise TraceError("reading an LTTng trace needs babeltrace2: apt install babeltrace2 (or your system's package)")
    with TemporaryFile() as errors:
        reader = subprocess.Popen(
            [command, "--clock-cycles", "--no-delta", *map(str, folders or [path])],
            stdout=subprocess.PIPE,
            stderr=errors,
        )
        assert reader.stdout is not None
        last = 0
        try:
            for event in read_lines(
                TextIOWrapper(reader.stdout, encoding="utf-8", errors="replace", newline="\n"), states
            ):
                last = event.at
                yield event
            status = reader.wait()
        finally:
            # If the caller reads no further, the command would wait forever.
            reader.stdout.close()
            reader.kill()
            reader.wait()
        errors.seek(0)
        said = errors.read().decode(errors="replace")
    if status:
        where = f"after {last / 1e9:.6f} s" if last else "at its beginning"
        raise TraceError(f"{path}: the LTTng trace is cut or damaged {where}: {_cause(said)}")
    if not last and not any(file.is_file() and file.name != "metadata" for file in _files_of(folders or [path])):
        raise TraceError(f"{path}: only the metadata of an LTTng trace, without the files of its events (channel0_0 …)")
    lost = sum(int(count) for count, _ in DISCARDED.findall(said))
    if lost:
        yield TraceEvent(last, 0, 0, "", "lost", {"count": lost})


def _files_of(folders: Sequence[Path]) -> Iterator[Path]:
    return (file for folder in folders for file in folder.iterdir())


def _model(name: str) -> str:
    """The name in the model of an event of LTTng's."""
    if name.startswith("syscall_entry_"):
        return "sys_enter"
    if name.startswith("syscall_exit_"):
        return "sys_exit"
    if (renamed := _renamed(name)) != name:
        return _model(renamed)
    return RENAMED.get(name, name)


def _renamed(name: str) -> str:
    """The name that today's LTTng gives to an event of LTTng 2.5 and before, or to one of a 32-bit program."""
    name = name.removeprefix("compat_")
    if name.startswith("sys_"):
        return f"syscall_entry_{name[4:]}"
    return "syscall_exit_" if name == "exit_syscall" else name


def _cause(said: str) -> str:
    """The innermost cause in babeltrace2's pages of errors."""
    causes = [line.strip() for line in said.splitlines() if line.strip() and not line.startswith(("CAUSED", "ERROR"))]
    return causes[-1] if causes else "babeltrace2 failed"


def read_lines(lines: Iterator[str], states: Sequence[str] = STATES) -> Iterator[TraceEvent]:
    """The events in babeltrace2's text; those that no analysis uses are left out."""
    converters = CONVERTERS if states is STATES else CONVERTERS | {"sched_switch": partial(_switch, states=states)}
    running: dict[int, tuple[int, str]] = {}
    for line in lines:
        match = LINE.match(line)
        if match is None:
            continue
        at, name, cpu, rest = match.groups()
        number = int(cpu)
        if name.startswith(("compat_", "sys_", "exit_")):
            name = _renamed(name)
        convert = converters.get(name) or converter(name)
        if convert is None:
            continue
        if " : container = " in rest:
            rest = LABELLED.sub(r"\1", rest)
        begins = CONTEXT.match(rest)
        context, payload = (begins[1], rest[begins.end() :]) if begins else ("", rest)
        known = dict(FIELD.findall(context))
        if (given := known.get("tid", "")).isdecimal():
            tid, comm = int(given[:10]), _text(known.get("procname", '""'))
        else:
            if number not in running and name.startswith("syscall_"):
                continue  # which task runs there isn't known yet
            tid, comm = running.get(number, (0, ""))
        try:
            fields = convert(payload)
        except (KeyError, IndexError, TypeError, ValueError):
            continue  # a field that is missing or no number: the line is damaged
        if (process := known.get("pid", "")).isdecimal():
            fields["tgid"] = int(process[:10])
        if name == "sched_switch":
            running[number] = fields["next_pid"], fields["next_comm"]
        if name.startswith("syscall_"):
            fields.setdefault("syscall", name.split("_", 2)[2])
        yield TraceEvent(int(at), number, tid, comm, _model(name), fields)


def converter(name: str) -> Callable[[str], Fields] | None:
    """The function that reads the fields of this event; None if no analysis uses it."""
    if name.startswith(("syscall_entry_", "syscall_exit_")):
        return SYSCALLS.get(name) or (_enter if name.startswith("syscall_entry_") else _exit)
    return CONVERTERS.get(name)


def _scalars(payload: str) -> Fields:
    return {key: _value(value) for key, value in FIELD.findall(payload)}


def _value(text: str) -> Any:
    if text[0] == '"':
        return _text(text)
    try:
        return int(text, 0) if text[:1] != "0" or text[1:2] in ("x", "X") else int(text, 8)
    except ValueError:
        return text


def _text(quoted: str) -> str:
    """A text as babeltrace2 writes it, with the escapes of C."""
    text = quoted[1:-1]
    return ESCAPED.sub(lambda escaped: ESCAPES.get(escaped[1], escaped[1]), text) if "\\" in text else text


def _switch(payload: str, states: Sequence[str] = STATES) -> Fields:
    fields = _scalars(payload)
    state = states[fields["prev_state"] & 0xFF]
    return {"prev_state": state, "next_pid": fields["next_tid"], "next_comm": fields["next_comm"]}


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
    return {"vec": softirq(_scalars(payload)["vec"])}


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
    """The file descriptors polled for something; a negative one is ignored (poll(2))."""
    fds = {int(fd) for fd, events in POLLED.findall(payload) if int(fd) >= 0 and int(events, 16)}
    return {"fd": fds.pop()} if len(fds) == 1 else {"fds": tuple(sorted(fds))}


def _enter_select(payload: str) -> Fields:
    """The file descriptors in the bit masks of select and pselect6, of which the trace has the bytes."""
    fds = set()
    for mask in re.findall(r"fds = \[ (.{1,4000}?) \]", payload):
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
    # A header inside may have a field of this name, too; the first one is the packet's.
    whole = LENGTH.search(payload)
    if whole is None:
        raise KeyError("len")
    sent: Fields = {"len": fields.get("tot_len", max(int(whole[1]) - ETHERNET_HEADER, 0))}
    if {"seq", "ack_seq", "source_port", "dest_port"} <= fields.keys():
        sent |= {"sport": fields["source_port"], "dport": fields["dest_port"], "seq": fields["seq"]}
        sent |= {"ack": fields["ack_seq"]}
    return sent


def _task(payload: str) -> Fields:
    fields = _scalars(payload)
    return {"pid": fields["tid"], "of": fields["pid"], "comm": fields["name"], "parent": fields["ppid"],
            "files": fields.get("file_table_address")}  # fmt: skip


def _file(payload: str) -> Fields:
    fields = _scalars(payload)
    # Before LTTng 2.10, a table had no address.
    of = {"pid": fields["pid"]} if "pid" in fields else {"files": fields.get("file_table_address")}
    return {**of, "fd": fields["fd"], "file": fields["filename"]}


CONVERTERS: dict[str, Callable[[str], Fields]] = {
    "sched_switch": _switch,
    "sched_waking": _waking,
    "sched_process_fork": _fork,
    "sched_process_exit": _exited,
    "irq_softirq_entry": _softirq,
    "softirq_entry": _softirq,
    "softirq_exit": _softirq,
    "hrtimer_expire_entry": _hrtimer,
    "hrtimer_expire_exit": _hrtimer,
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
