"""Logs of strace, made with `strace -f -ttt -T -yy -o FILE COMMAND`: a trace without root.

What is read of the many forms that strace writes:

| option                        | what it changes                                                       |
|-------------------------------|-----------------------------------------------------------------------|
| -ttt, -tt, -t, -r             | the time: of the epoch, of the day, since the line before             |
| --absolute-timestamps         | as exact as s, ms, us or ns                                           |
| -T, --syscall-times           | how long each call took; without this nothing is known                |
| -f, -o FILE                   | "123 " before each line; "[pid 123] " where there is no file          |
| -ff -o FILE                   | FILE.123 for each thread; FILE stands for all of them                 |
| -Y, -n, -i, -k, -y, -yy, -X   | a task's name, a call's number, addresses, files, numbers for names   |

Source: strace(1); strace's src/strace.c (printleader), src/syscall.c.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from heapq import merge
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from shaper.trace.read.calls import Calls, comm_of
from shaper.trace.read.events import Clock, Trace, TraceError, TraceEvent, open_text
from shaper.units import ms, s, us

ALONE = 1
"""The pid of a process for which the log gives none."""
HOW = "strace -f -ttt -T -yy -o FILE COMMAND"
LINES = 200
"""At least this many lines are looked at to find out how a log was made."""
MOST = 20_000
"""Where no line says which task it is of, up to this many are looked at to find the first that does."""
DRIFT = 10 * ms
"""How far (ns) the times of -r, each of which is rounded down, are taken to be behind."""
BLOCK = 8192
"""About this many bytes are read at once of each of many files."""

LINE = re.compile(
    r"\s{0,20}(?:\[pid\s{1,20}(?P<shown>\d{1,10})(?:<(?P<name>.{0,99}?)>)?\]\s"
    r"|(?P<pid>\d{1,10})(?:<(?P<named>.{0,99}?)>)?\s{1,20})?\s{0,20}"
    r"(?:(?P<epoch>\d{6,12})|(?P<day>\d\d:\d\d:\d\d)|(?P<since>\d{1,5}(?=\.\d)))(?:\.(?P<fraction>\d{1,9}))?\s{1,20}"
    # -r together with a time; -n; -i
    r"(?:\(\+ {0,20}\d{1,9}(?:\.\d{1,9})?\)\s{1,20})?(?:\[\s{0,9}\d{1,9}\]\s{1,20})?(?:\[[0-9a-f?]{8,16}\]\s{1,20})?"
    r"(?P<text>\S.*)"
)
# What nearly all lines of a file are like.
PLAIN = re.compile(r"(\d{1,10})\s{1,20}(\d{6,12})\.(\d{1,9})\s([^\s\[(].*)")
CALL = re.compile(r"(\w+)\((.*)")
RESUMED = re.compile(r"<\.\.\. (\w+) resumed>(.*)")
RESULT = re.compile(r".*\)\s+= (-?\d{1,20}|0x[0-9a-f]{1,16}|\?)(?=[\s</]|$).*?(?: <(\d{1,9}(?:\.\d{1,9})?)>)?$")
# Neither a time nor a duration; such a log can't be read, but is known for what it is.
BARE = re.compile(r"(?:\[pid {1,9}\d{1,10}\] |\d{1,10} {1,9})?[a-z_]\w*\(.*\)\s+= (?:-?\d|0x[0-9a-f]|\?)")
OCTAL = re.compile(r"0[0-7]+")
PROGRAM = re.compile(r'"((?:[^"\\]|\\.)*)"')
RENAMED = re.compile(r'(?:PR_SET_NAME|0xf(?: /\* PR_SET_NAME \*/)?), "((?:[^"\\]|\\.)*)"')
INTERRUPTED = re.compile(r"<\.\.\. resuming interrupted (\w+) \.\.\.>")
SUPERSEDED = re.compile(r"\+\+\+ superseded by execve in pid (\d{1,10})")
# Where there is no -o, lines of strace's own come in between, and may cut a call's line in two.
NOTE = re.compile(r"(?:strace: )?Process (\d{1,10})(?:<.{0,99}?>)? (attached|detached)(?: with \d+ threads?)?$")
UNFINISHED = "<unfinished ...>"
DETACHED = "<detached ...>"
NEVER = re.compile(r"<unfinished \.\.\.>\)\s{1,40}= \?$")
UNENDED = re.compile(r" ?<(?:unfinished|detached) \.\.\.>(?:\)\s{1,40}= \?)?$")


class _Line(NamedTuple):
    """A line: its time (ns), the task, the task's name if the line gives it, and the rest."""

    at: int
    tid: int
    comm: str
    text: str


class Form(NamedTuple):
    """How a log was made.

    Attributes:
        clock: of its times.
        tick: how exact they are, in ns.
        pids: each line says which task it is of.
        first: the task that a line is of if it doesn't say so.
        relative: each time is that since the line before.
    """

    clock: Clock
    tick: int
    pids: bool
    first: int
    relative: bool


def is_strace(lines: Sequence[str]) -> bool:
    """Whether at least one line is a call, with its time or not."""
    return any(((match := LINE.match(line)) and CALL.match(match["text"])) or BARE.match(line) for line in lines)


def open_strace(path: Path) -> Trace:
    """A log, or one of those of -ff.

    Raises:
        TraceError: it has no times or no durations; one line says which options make them.
    """
    with open_text(path) as file:
        form = _form(file, path)
    suffix = path.suffix[1:]
    if not form.pids and suffix.isascii() and suffix.isdecimal():
        form = form._replace(first=int(suffix))
    return Trace(_events(_lines_of(path, form), form), form.clock)


def parts_of(path: Path) -> list[Path]:
    """The files of `strace -ff -o PATH`: one for each thread, with its number at the end of its name."""
    parts = [
        part
        for part in path.parent.glob(f"{glob_safe(path.name)}.*")
        if part.suffix[1:].isascii() and part.suffix[1:].isdecimal() and part.stem == path.name
    ]
    return sorted(parts, key=lambda part: int(part.suffix[1:]))


def glob_safe(name: str) -> str:
    """A file's name as a pattern that matches it alone."""
    return re.sub(r"([*?[])", r"[\1]", name)


def open_parts(parts: Sequence[Path]) -> Trace:
    """The logs of -ff as one trace.

    Raises:
        TraceError: as for `open_strace`.
    """
    forms = []
    for part in parts:
        with open_text(part) as file:
            if is_strace(list(islice(file, LINES))):
                file.seek(0)
                forms.append((part, _form(file, part)._replace(first=int(part.suffix[1:]))))
    if not forms:
        raise TraceError(f"{parts[0]}: not a known kind of trace")
    form = forms[0][1]
    if form.relative:
        raise TraceError(f"{parts[0]}: with -ff, -r doesn't say when a call began; record with {HOW}")
    lines = merge(*(_lines_of(part, own, blocks=True) for part, own in forms), key=lambda line: line[0])
    return Trace(_events(lines, form), form.clock)


def _form(lines: Iterable[str], path: Path) -> Form:
    """How a log was made, from its first lines: until a call has returned, and LINES at least."""
    returned = timed = stamped = pids = False
    day = since = False
    digits, first, own = 0, ALONE, set[int]()
    for number, line in enumerate(lines):
        if number >= LINES and returned and (pids or first != ALONE or number >= MOST):
            break
        line = line.rstrip("\r\n")
        match = LINE.match(line)
        if match is None:
            if note := NOTE.search(line):
                own.add(int(note[1]))
            result = RESULT.match(line)
        else:
            stamped = True
            day, since = day or bool(match["day"]), since or bool(match["since"])
            digits = max(digits, len(match["fraction"] or ""))
            pids = pids or bool(match["pid"])
            if note := NOTE.search(line):
                own.add(int(note[1]))
            if first == ALONE and match["shown"] and int(match["shown"]) not in own:
                first = int(match["shown"])
            result = RESULT.match(match["text"])
        if result is not None and result[1] != "?":
            returned, timed = True, timed or bool(result[2])
    if not stamped:
        raise TraceError(f"{path}: no times of calls; record with -ttt: {HOW}")
    if returned and not timed:
        raise TraceError(f"{path}: no durations of calls; record with -T: {HOW}")
    # Times of the day have no date, so they are on no clock that a journal has.
    return Form("own" if day or since else "wall", DRIFT if since else 10 ** (9 - digits), pids, first, since)


def _lines_of(path: Path, form: Form, *, blocks: bool = False) -> Iterator[_Line]:
    """The lines of a log; in blocks, so that many logs can be read at the same time."""
    if blocks:
        return _parse(_in_blocks(path), form)
    return _parse(_in_file(path), form)


def _in_file(path: Path) -> Iterator[str]:
    with open_text(path) as file:
        yield from file


def _in_blocks(path: Path) -> Iterator[str]:
    position = 0
    while True:
        with path.open("rb") as file:
            file.seek(position)
            lines = file.readlines(BLOCK)
        if not lines:
            return
        position += sum(map(len, lines))
        yield from (line.decode(errors="replace") for line in lines)


def _parse(lines: Iterator[str], form: Form) -> Iterator[_Line]:
    """The lines that say something of a task; a call's line that was cut in two is whole again."""
    alive: set[int] = set()
    cut: _Line | None = None
    days = before = at = 0
    for line in lines:
        line = line.rstrip("\r\n")
        if form.pids and (plain := PLAIN.match(line)) is not None:
            pid, epoch, fraction, text = plain.groups()
            at = int(epoch) * s + int(fraction.ljust(9, "0"))
            yield tuple.__new__(_Line, (at, int(pid), "", text))
            continue
        match = LINE.match(line)
        if match is None:
            if (note := NOTE.match(line)) is not None:
                tid = int(note[1])
                if note[2] == "attached":
                    alive.add(tid)
                else:
                    alive.discard(tid)
                    yield _Line(at, tid, "", DETACHED)
            elif cut is not None and (line.endswith((UNFINISHED, DETACHED)) or RESULT.match(cut.text + line)):
                yield cut._replace(text=cut.text + line)
                cut = None
            continue
        shown, name, pid, named, epoch, day, since, fraction, text = match.groups()
        part = int(fraction.ljust(9, "0")) if fraction else 0
        if epoch:
            at = int(epoch) * s + part
        elif day:
            seconds = int(day[:2]) * 3600 + int(day[3:5]) * 60 + int(day[6:])
            # Half a day back is the next day; less is a clock that was set.
            days += before - seconds > 43200
            before = seconds
            at = (days * 86400 + seconds) * s + part
        else:
            at += int(since) * s + part
        if shown or pid:
            tid = int(shown or pid)
            if shown:
                alive.add(tid)
        else:
            # Without -o, strace leaves out the pid where only one process is left.
            tid = next(iter(alive)) if len(alive) == 1 else form.first
        if text.startswith("+++"):
            alive.discard(tid)
        read = tuple.__new__(_Line, (at, tid, name or named or "", text))
        cut = None
        # In a file of its own, strace's lines stay whole.
        if not pid and text[0] not in "+-<" and not text.endswith((UNFINISHED, DETACHED)) and not RESULT.match(text):
            if note := NOTE.search(text):
                alive.add(int(note[1]))
                read = read._replace(text=text[: note.start()])
            cut = read
            continue
        yield read


def _events(lines: Iterator[_Line], form: Form) -> Iterator[TraceEvent]:
    calls = Calls(form.tick if form.tick > us else 0)
    names, at = calls.names, 0
    yield TraceEvent(0, 0, 0, "", "no_scheduler", {})
    returned = timed = False
    for at, tid, comm, text in lines:
        if calls.waits(at):
            yield from calls.until(at)
        if comm:
            names[tid] = comm
        if text[0] == "+":
            if (by := SUPERSEDED.match(text)) is not None:
                calls.replaced(tid, int(by[1]), at)
            else:
                calls.gone(tid, at)
            continue
        if text == DETACHED:
            calls.cut(tid, at)
            continue
        resumed = RESUMED.match(text) if text[0] == "<" else None
        if resumed is not None:
            call, arguments = calls.is_begun(tid), calls.resume(tid, resumed[2])
            if not call:
                continue
        else:
            called = CALL.match(text)
            if called is None:
                continue
            call, arguments = called[1], called[2]
            if call == "restart_syscall" and (what := INTERRUPTED.match(arguments)) is not None:
                call = what[1] if what[1] != "call" else call
        if arguments.endswith((UNFINISHED, DETACHED)) or (arguments[-1:] == "?" and NEVER.search(arguments)):
            # What follows says how it ends: it returns, or the task is killed.
            if resumed is None:
                calls.begin(tid, at, call, UNENDED.sub("", arguments))
            continue
        result = RESULT.match(arguments)
        if result is None:
            continue
        returns, duration = result.groups()
        value, took = _number(returns), _duration(duration)
        if duration:
            timed = True
        elif returns != "?":
            returned = True
        if call == "execve" and value == 0 and (program := PROGRAM.match(arguments)):
            names[tid] = comm_of(program[1], path=True)
        elif call == "prctl" and (program := RENAMED.match(arguments)):
            names[tid] = comm_of(program[1])
        if returns == "?" and not duration:
            calls.cut(tid, at)  # it never returned
        elif resumed is not None:
            calls.end(tid, took, value, arguments)
        else:
            calls.whole(tid, at, took, call, arguments, value)
    yield from calls.close(at)
    if returned and not timed:
        raise TraceError(f"no durations of calls; record with -T: {HOW}")


def _number(result: str) -> int:
    """What a call returned: decimal, hexadecimal, octal for umask(2), or "?" if it did not return."""
    if result == "?":
        return 0
    return int(result, 16 if result.startswith("0x") else 8 if OCTAL.fullmatch(result) else 10)


def _duration(text: str | None) -> int:
    """A duration in seconds, in ns."""
    if not text:
        return 0
    whole, _, fraction = text.partition(".")
    return int(whole) * s + int(fraction.ljust(9, "0"))
