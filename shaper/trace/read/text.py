"""Traces as text: tracefs's `trace` and `trace_pipe`, `trace-cmd report`, `perf script`.

One regular expression reads them all:

    nc-290   [000] d..2.  18763.664: sched_switch: prev_comm=nc …        tracefs
    nc-290   (  117) [000] d..2.  18763.664: sched_switch: …             tracefs with record-tgid
    nc-290   [000]  18763.664: sched_switch: nc:290 [120] S ==> …        trace-cmd
    nc-290     0d..2.  18763.664: sched_switch: …                        trace-cmd report -l
    nc   290 [000]  18763.664: sched:sched_switch: prev_comm=nc …        perf
    nc 117/290 [000] 18763.664: sched:sched_switch: prev_comm=nc …       perf, with the process
    nc   290 K 18763.664: 1 sched:sched_switch: prev_comm=nc …           perf -F without cpu, with misc and period

Source: kernel/trace/trace_output.c, and the print formats under events/*/*/format; trace-cmd's
tracecmd/trace-read.c; perf's builtin-script.c.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from shaper.trace.read.events import Clock, Lack, Trace, TraceError, TraceEvent, open_text
from shaper.trace.read.syscalls import BY_NUMBER, numbers_of
from shaper.trace.read.text_fields import Fields, converters, named

# Everything before an event's fields has a limit, since a damaged line may be of any length and hold anything.
GAP = r"\s{1,40}"
BEGIN = r"(?:[^\s:]{1,40}:\s{2,40})?\s{0,40}"  # trace-cmd says from which of several buffers a line is
TASK = rf"(?:(?P<pid>\d{{1,10}})/)?(?P<tid>\d{{1,10}}){GAP}(?:\(\s{{0,9}}(?P<tgid>\d{{1,10}}|-{{1,9}})\){GAP})?"
FLAGS = r"(?P<flags>[^\s:\d][^\s:]{3,5})"
TIME_OF_DAY = rf"(?:\d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{{1,9}}{GAP})?"
# perf's fields misc and tod, before the time, and period, after it.
TIME = rf"(?:[A-Z]\w?{GAP})?{TIME_OF_DAY}(?P<s>\d{{1,12}})\.(?P<fraction>\d{{1,9}}):"
EVENT = (
    rf"{GAP}(?:\d{{1,19}}{GAP})?(?:(?:[\w-]{{1,64}}:)?(?P<name>\w{{1,64}}):\s{{0,40}}"
    r"|(?P<call>sys_\w{1,64})(?=\(| -> ))(?P<rest>.{0,1000})"
)
LINE = re.compile(
    rf"{BEGIN}(?P<comm>.{{1,64}}?)(?:-|{GAP}){TASK}\[(?P<cpu>\d{{1,6}})\]{GAP}(?:{FLAGS}{GAP})?{TIME}{EVENT}"
)
# The same without a name, without a CPU, or with the CPU before the flags.
ODD_LINE = re.compile(
    rf"{BEGIN}(?:(?P<comm>.{{0,64}}?)(?:-|{GAP}))??{TASK}"
    rf"(?:(?:\[(?P<cpu>\d{{1,6}})\]{GAP}|(?P<latency>\d{{1,6}})(?=[.dDbBX][^\s:]{{2,5}}\s))(?:{FLAGS}{GAP})?)?{TIME}{EVENT}"
)
# What the option latency-format of tracefs makes: names of 8 letters, and µs since the trace began.
LATENCY = re.compile(
    rf"{BEGIN}(?P<comm>.{{0,64}}?)-{TASK}(?P<cpu>\d{{1,6}})(?P<latency>){FLAGS}{GAP}"
    rf"(?P<s>\d{{1,12}})(?P<fraction>)us[ !+#*@$]?\s?:{EVENT}"
)
# Times that are no seconds: of the clocks counter and x86-tsc, and "local" in traces that don't say their unit.
TICKS = re.compile(
    rf"{BEGIN}.{{1,64}}?(?:-|{GAP}){TASK}\[\d{{1,6}}\]{GAP}(?:[^\s:]{{4,6}}{GAP})?\d{{1,20}}:{GAP}\w{{1,64}}:"
)
NO_TASK = re.compile(
    rf"\s{{0,40}}(?:\[\d{{1,6}}\]{GAP})?\d{{1,12}}\.\d{{1,9}}:{GAP}(?:\d{{1,19}}{GAP})?\w{{1,64}}:\w{{1,64}}:\s"
)
NO_TIME = re.compile(rf"\s{{0,40}}\S.{{0,64}}?\s\d{{1,10}}{GAP}(?:\[\d{{1,6}}\]{GAP})?\w{{1,64}}:\w{{1,64}}:\s")
LOST = re.compile(
    r"CPU:?\s*(?P<cpu>\d+)\s*\[(?:LOST (?P<lost>\d{1,18}) EVENTS|(?:(?P<dropped>\d{1,18}) )?EVENTS DROPPED)\]"
    r"|.{0,200}\bPERF_RECORD_LOST(?:_SAMPLES)? .{0,99}?\blost (?P<missed>\d{1,18})"
    r"|Processed \d+ events and lost (?P<chunks>\d{1,18}) chunks!"
)
CLOCKID = re.compile(r"# clockid: (\w+)")
RECORDED = re.compile(r"# event : name = (?:[\w-]+:)?(\w+)")
ARCH = re.compile(r"# arch : (\w+)")
CLOCKS: dict[str, Clock] = {"monotonic": "mono", "realtime": "wall", "boottime": "boot"}
TIMES_OF_DAY = 500_000_000
"""Times from this one on (s) are times of day: no machine has been up for 15 years, and none has traced in 1985."""
FIELDS = "perf script -F comm,pid,tid,cpu,time,event,trace"
NO_CPU = Lack("CPU column", "a wakeup by the network, a disk or a timer seems to come from the task that ran there")
ESSENTIAL = ("sched_switch", "sys_enter", "sys_exit")
ENOUGH = 5
"""Fewer lines with other fields may be damaged, or have odd names of tasks."""
PER_CPU = frozenset({
    "softirq_entry", "softirq_exit", "irq_handler_entry", "irq_handler_exit", "hrtimer_expire_entry",
    "hrtimer_expire_exit",
})  # fmt: skip
"""Events that say what a CPU does, and nothing where the CPU isn't known."""

# The third flag: the context of the event (kernel/trace/trace_output.c, trace_print_lat_fmt).
CONTEXTS = {"h": "h", "H": "h", "Z": "h", "z": "h", "s": "s"}


NOT_PRINTED = (
    "is not as the kernel prints it; give the output of `trace-cmd report` without -R, or of tracefs without the "
    "options fields and raw"
)


class Form(NamedTuple):
    """How a text was made.

    Attributes:
        line: matches its lines.
        clock: of its times.
        names: of system calls by number, on the machine that was traced.
        recorded: the names of the events that were recorded, where the text says so.
        lacks: what it lacks.
    """

    line: re.Pattern[str]
    clock: Clock
    names: Mapping[int, str]
    recorded: frozenset[str]
    lacks: tuple[Lack, ...]


def is_text(lines: Sequence[str]) -> bool:
    """Whether at least one line is an event."""
    return any(LINE.match(line) or ODD_LINE.match(line) or LATENCY.match(line) for line in lines)


def open_text_trace(path: Path, lines: Sequence[str]) -> Trace:
    """A trace as text, which begins with these lines.

    Raises:
        TraceError: its times are differences, or its events don't have the fields that the kernel prints.
    """
    form = form_of(lines)
    if other := _other_fields(lines, form):
        raise TraceError(f"{path}: {other} {NOT_PRINTED}")
    times = [
        int(found["s"]) + float(f"0.{found['fraction'] or 0}") for line in lines if (found := form.line.match(line))
    ]
    back = sum(later < earlier for earlier, later in pairwise(times))
    if len(times) >= 10 and back > len(times) / 5 and max(times) < 100:
        raise TraceError(f"{path}: its times are differences; give the output of perf script without --deltatime")
    return Trace(_read(path, form), form.clock, form.recorded, form.lacks)


def _other_fields(lines: Iterable[str], form: Form) -> str:
    """The name of an event that blockings depend on, if none of its lines here has its usual fields."""
    convert, strange = converters(form.names), Counter[str]()
    for line in lines:
        match = form.line.match(line)
        if match is not None and (name := match["name"]) in ESSENTIAL and strange[name] >= 0:
            try:
                strange[name] = strange[name] + 1 if convert[name](match["rest"]) is None else -1
            except ValueError:
                continue
    return next((name for name, count in strange.items() if count >= ENOUGH), "")


def form_of(lines: Iterable[str]) -> Form:
    """How a text was made that begins with these lines. Only the header of `perf script --header` says much of it."""
    clock: Clock = "unknown"
    recorded, names, line = set[str](), BY_NUMBER, LINE
    lacks: tuple[Lack, ...] = ()
    for text in lines:
        if text.startswith("#"):
            if text.startswith("# captured on"):
                clock = "own"  # without -k, perf has a clock of its own
            elif clock == "own" and (named := CLOCKID.match(text)):
                clock = CLOCKS.get(named[1], "own")
            elif event := RECORDED.match(text):
                recorded.add(model_name(event[1]))
            elif arch := ARCH.match(text):
                names = numbers_of(arch[1])
        elif found := LINE.match(text) or ODD_LINE.match(text):
            line = found.re
            if clock == "unknown" and int(found["s"]) >= TIMES_OF_DAY:
                clock = "wall"
            if found["cpu"] is None and found["latency"] is None:
                lacks = (NO_CPU,)
            break
        elif LATENCY.match(text):
            line, clock = LATENCY, "own"
            break
    return Form(line, clock, names, frozenset(recorded), lacks)


def model_name(name: str) -> str:
    """The name in the model of an event of the kernel's."""
    if name.startswith("sys_enter_"):
        return "sys_enter"
    if name.startswith("sys_exit_"):
        return "sys_exit"
    return "sched_process_fork" if name == "task_newtask" else name


def why_unread(lines: Iterable[str]) -> str:
    """Why lines that look like events are not read; "" if none looks like one."""
    for line in lines:
        if TICKS.match(line):
            return "its times are no seconds; set trace_clock to mono (trace-cmd record -C mono)"
        if NO_TASK.match(line):
            return f"it doesn't say which task each event is of; give the output of {FIELDS}"
        if NO_TIME.match(line):
            return f"its events have no times; give the output of {FIELDS}"
    return ""


def _read(path: Path, form: Form) -> Iterator[TraceEvent]:
    with open_text(path) as file:
        yield from read_lines(file, form)


PLAIN = Form(LINE, "unknown", BY_NUMBER, frozenset(), ())


def read_lines(lines: Iterable[str], form: Form = PLAIN) -> Iterator[TraceEvent]:
    """The events in these lines; other lines, and events that no analysis uses, are left out.

    Raises:
        TraceError: there are such events, but none has the form that the kernel prints.
    """
    at, count, strange, chunks, lost = 0, 0, "", 0, 0
    line_match, convert_of = form.line.match, converters(form.names).get
    in_us, plain, without_cpu = form.line is LATENCY, form.line is LINE, form.lacks == (NO_CPU,)
    fields: Fields | None
    for line in lines:
        match = line_match(line)
        if match is None:
            if ("LOST" in line or "DROPPED" in line or "chunks!" in line) and (missed := LOST.match(line)):
                if missed["chunks"]:
                    chunks = max(chunks, int(missed["chunks"]))
                    continue
                lost += 1
                count_lost = missed["lost"] or missed["dropped"] or missed["missed"] or 1
                yield TraceEvent(at, int(missed["cpu"] or 0), 0, "", "lost", {"count": int(count_lost)})
            continue
        if plain:
            comm, pid, tid, tgid, cpu, flags, seconds, fraction, name, call, rest = match.groups()
        else:
            comm, pid, tid, tgid, cpu, latency, flags, seconds, fraction, name, call, rest = match.groups()
            comm, cpu = comm or "", cpu or latency or "0"
        if comm == "<...>" or comm[:1] == ":" or comm.isspace():
            comm = ""  # tracefs and perf don't know it
        at = int(seconds) * 1000 if in_us else int(seconds) * 1_000_000_000 + int(fraction.ljust(9, "0")[:9])
        convert = convert_of(name)
        try:
            if convert is not None:
                if without_cpu and name in PER_CPU:
                    continue
                fields = convert(rest)
            elif call or name.startswith(("sys_enter_", "sys_exit_")):
                # From events/syscalls, which has an event for each call. tracefs writes it as "sys_read(fd: 3, …)" and
                # "sys_read -> 0x1".
                if call:
                    name = ("sys_enter_" if rest.startswith("(") else "sys_exit_") + call[4:]
                fields = named(name, rest)
                name = "sys_enter" if name.startswith("sys_enter_") else "sys_exit"
            else:
                continue
        except ValueError:
            continue  # a number that is none: the line is damaged
        if fields is None:
            strange = name
            continue
        count += 1
        if pid:
            fields["tgid"] = int(pid)
        elif tgid and tgid[0] != "-":
            fields["tgid"] = int(tgid)
        if flags and flags[2:3] in CONTEXTS:
            fields["context"] = CONTEXTS[flags[2:3]]
        if name == "task_newtask":
            name = "sched_process_fork"
        yield TraceEvent(at, int(cpu), int(tid), comm, name, fields)
    if chunks and not lost:
        # perf script says how many events were lost only with --show-lost-events.
        yield TraceEvent(at, 0, 0, "", "lost", {"count": chunks})
    if strange and not count:
        raise TraceError(f"{strange} {NOT_PRINTED}")
