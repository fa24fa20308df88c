"""Events from a log of system calls, such as strace's: when each call began, and how long it took.

Such a log doesn't show the scheduler. So the time that a call took stands for the time it
slept, unless it is shorter than SHORTEST: then the call may have run all the time. What
woke it is not known.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Any

from shaper.trace.read.events import TraceEvent
from shaper.trace.read.kernel import CLONE_THREAD, COMM_LENGTH
from shaper.trace.read.syscalls import FIRST_IS_FD, FIRST_IS_PID
from shaper.units import ms

SHORTEST = 1 * ms
FORKS = frozenset({"clone", "clone2", "clone3", "fork", "vfork"})
NEVER_RETURN = frozenset({"exit", "exit_group", "_exit", "rt_sigreturn", "sigreturn"})
LONGEST = 8192
"""How much of the arguments is looked at."""
POLLS = frozenset({"poll", "ppoll", "ppoll_time64"})
SELECTS = frozenset({"select", "_newselect", "pselect6", "pselect6_time64"})

# What a file descriptor stands for, as -y and -yy add it. It may hold quoted paths and a device's numbers.
FILE = r'<(?:->|\\.|"(?:[^"\\]|\\.)*"|<[^<>]*>|[^<>"\\])*>(?:\(deleted\))?'
# strace 4 escapes nothing, so there the first ">" that can be the end is.
PLAIN = r"<.*?>(?=[,)\] }])"
FD = re.compile(rf"(?:\w+: )?(0x[0-9a-f]+|\d+)({FILE}|{PLAIN})?(?=[,)]|\s|$)")
POLLED = re.compile(rf"\{{fd=(-?\d+)({FILE}|{PLAIN})?, events=")
MEMBER = re.compile(rf"(\d{{1,10}})({FILE}|{PLAIN})?(?=[ \]])")
NO_SET = re.compile(r"NULL|0x[0-9a-f]{1,16}|0(?=,)")
FIRST = re.compile(r"(?:\w+: )?\d+, ")
FLAGS = re.compile(r"flags[=:] ?(0x[0-9a-f]+)")
ESCAPE = re.compile(rb"\\(?:x([0-9a-fA-F]{2})|([0-7]{1,3})|(.))")
PLAIN_ESCAPES = {b"n": b"\n", b"t": b"\t", b"r": b"\r", b"v": b"\v", b"f": b"\f"}


@dataclass(slots=True)
class _Begun:
    """A call that has not returned yet; `sleeps` once it has taken SHORTEST, `over` once it has returned."""

    tid: int
    start: int
    call: str
    arguments: str
    sleeps: bool = False
    over: bool = False


class Calls:
    """The calls of a log, which become events in order of time.

    Args:
        tick: how exact the log's times are, in ns. Durations are exact, so a call of a task begins no earlier than
            the one before it has ended, if the times leave that open.

    Attributes:
        names: the tasks' names, as far as the log shows them.
    """

    def __init__(self, tick: int = 0) -> None:
        self.names: dict[int, str] = {}
        self._tick = tick
        self._slack = SHORTEST + tick
        self._begun: dict[int, _Begun] = {}
        self._young: deque[_Begun] = deque()
        self._ends: dict[int, int] = {}
        self._processes: dict[int, int] = {}
        self._heap: list[tuple[int, int, TraceEvent]] = []
        self._count = 0

    def waits(self, now: int) -> bool:
        """Whether there may be events that `until` has now."""
        horizon = now - self._slack
        return bool(self._heap and self._heap[0][0] < horizon) or bool(self._young and self._young[0].start <= horizon)

    def until(self, now: int) -> Iterator[TraceEvent]:
        """The events that are known for good when the log has come to this time (ns)."""
        horizon = now - self._slack
        while self._young and (self._young[0].over or self._young[0].start <= horizon):
            begun = self._young.popleft()
            if not begun.over:
                self._sleep(begun)
        while self._heap and self._heap[0][0] < horizon:
            yield heappop(self._heap)[2]

    def close(self, now: int) -> Iterator[TraceEvent]:
        """The last events; the log ends at this time (ns). Calls that have not returned sleep on."""
        for begun in self._begun.values():
            if not begun.sleeps:
                self._sleep(begun)
        while self._heap:
            yield heappop(self._heap)[2]
        yield TraceEvent(now, 0, 0, "", "no_scheduler", {})

    def begin(self, tid: int, start: int, call: str, arguments: str) -> None:
        """A call begins. It has not returned when the log goes on."""
        if call in NEVER_RETURN:
            return
        start = self._later(tid, start)
        begun = self._begun[tid] = _Begun(tid, start, call, arguments)
        self._young.append(begun)
        self._enter(begun)

    def resume(self, tid: int, more: str) -> str:
        """The arguments of the call that this task has begun, and what the log adds to them; "" without such a call."""
        begun = self._begun.get(tid)
        return "" if begun is None else begun.arguments + more

    def is_begun(self, tid: int) -> str:
        """The call that this task has begun; "" if there is none."""
        begun = self._begun.get(tid)
        return "" if begun is None else begun.call

    def end(self, tid: int, took: int, value: int, arguments: str) -> None:
        """The call that this task has begun returns this value; it took this long (ns)."""
        self._end(self._begun.pop(tid), took, value, arguments)

    def cut(self, tid: int, now: int) -> None:
        """What this task was in ends at this time (ns), without a result: the task was killed, or let go."""
        begun = self._begun.pop(tid, None)
        if begun is not None:
            self._end(begun, max(now - begun.start, 0), 0, "")

    def whole(self, tid: int, start: int, took: int, call: str, arguments: str, value: int) -> None:
        """A call with all that is known of it."""
        if self._tick:
            start = self._later(tid, start)
        begun = _Begun(tid, start, call, arguments)
        self._enter(begun)
        if took >= SHORTEST or self._tick or call in FORKS:
            self._end(begun, took, value, arguments)
        else:
            # Nearly all calls.
            self._add(start + took, tid, self.names.get(tid, ""), "sys_exit", {"syscall": call, "ret": value})

    def gone(self, tid: int, now: int) -> None:
        """The task has ended."""
        self.cut(tid, now)
        now = max(now, self._ends.pop(tid, 0))
        self._processes.pop(tid, None)
        self._add(now, tid, self.names.pop(tid, ""), "sched_process_exit", {"pid": tid})

    def replaced(self, tid: int, by: int, now: int) -> None:
        """A thread of this process has called execve, and goes on under the process's number."""
        dead = {"prev_state": "X", "next_pid": 0, "next_comm": ""}
        self._add(now, by, self.names.pop(by, ""), "sched_switch", dead)
        begun = self._begun.pop(by, None)
        self._begun.pop(tid, None)
        if begun is not None:
            begun.over = True
            self.begin(tid, begun.start, begun.call, begun.arguments)

    def _later(self, tid: int, start: int) -> int:
        if not self._tick:
            return start
        end = self._ends.get(tid, 0)
        return end if start < end <= start + self._tick else start

    def _enter(self, begun: _Begun) -> None:
        tid, comm = begun.tid, self.names.get(begun.tid, "")
        self._processes.setdefault(tid, tid)
        about, file = about_of(begun.call, begun.arguments)
        if file:
            self._add(begun.start, tid, comm, "file", {"pid": tid, "fd": about["fd"], "file": file})
        self._add(begun.start, tid, comm, "sys_enter", {"syscall": begun.call, **about})

    def _sleep(self, begun: _Begun) -> None:
        begun.sleeps = True
        fields = {"prev_state": "S", "next_pid": 0, "next_comm": ""}
        self._add(begun.start, begun.tid, self.names.get(begun.tid, ""), "sched_switch", fields)

    def _end(self, begun: _Begun, took: int, value: int, arguments: str) -> None:
        begun.over = True
        tid, start, call = begun.tid, begun.start, begun.call
        if took >= SHORTEST and not begun.sleeps:
            self._sleep(begun)
        end, comm = start + took, self.names.get(tid, "")
        if begun.sleeps:
            back = {"prev_state": "R", "next_pid": tid, "next_comm": comm}
            self._add(end, tid, "", "sched_switch", back, running=False)
        self._add(end, tid, comm, "sys_exit", {"syscall": call, "ret": value})
        if self._tick:
            self._ends[tid] = end
        if call in FORKS and value > 0:
            self._forked(tid, value, end, thread=_is_thread(arguments))

    def _forked(self, tid: int, child: int, at: int, *, thread: bool) -> None:
        comm, process = self.names.get(tid, ""), self._processes[tid]
        if child in self._processes:
            # It runs already: the parent waits for it (vfork), or was slower.
            self._processes[child] = process if thread else child
            known = {"pid": child, "of": process if thread else child, "comm": self.names.get(child, comm)}
            self._add(at, tid, comm, "task", {**known, "parent": 0 if thread else process})
        else:
            self._processes[child] = process if thread else child
            if self._tick:
                self._ends[child] = at
            born = {"child_pid": child, "child_comm": comm, "thread": int(thread)}
            self._add(at, tid, comm, "sched_process_fork", born)
        self.names.setdefault(child, comm)

    def _add(self, at: int, tid: int, comm: str, name: str, fields: dict[str, Any], *, running: bool = True) -> None:
        """An event of this task; `running` if it is the one that runs."""
        self._count += 1
        # Faster than calling TraceEvent.
        event = tuple.__new__(TraceEvent, (at, tid, tid if running else 0, comm, name, fields))
        heappush(self._heap, (at, self._count, event))


def comm_of(text: str, *, path: bool = False) -> str:
    """The name that the kernel gives to a task which asks for this one, or executes the file of this path.

    A log writes either with the escapes of C.
    """
    name = _bytes(text)
    return (name.rpartition(b"/")[2] if path else name)[:COMM_LENGTH].decode(errors="replace")


def about_of(call: str, arguments: str) -> tuple[dict[str, Any], str]:
    """The file descriptor that the call is about, if there is just one, and the file that the log gives for it."""
    if call in FIRST_IS_PID:
        return {}, ""
    arguments = arguments[:LONGEST]
    if call in POLLS:
        found = _polled(arguments)
    elif call in SELECTS:
        found = _selected(arguments)
    else:
        first = FD.match(arguments)
        # Of other calls, the first argument may be any number; but what -y or -yy explains is a file descriptor.
        if first is None or (first[2] is None and call not in FIRST_IS_FD):
            return {}, ""
        found = [first]
    if not found or any(match[1] != found[0][1] for match in found[1:]):
        return {}, ""
    fd = int(found[0][1], 16 if found[0][1].startswith("0x") else 10)
    if fd >= 1 << 31:
        return {}, ""  # negative
    file = found[0][2] or ""
    deleted = " (deleted)" if file.endswith("(deleted)") else ""
    name = file.removesuffix("(deleted)")[1:-1].replace("->", " > ")
    return {"fd": fd}, (_bytes(name).decode(errors="replace") if "\\" in name else name) + deleted


def _polled(arguments: str) -> list[re.Match[str]]:
    """The file descriptors that poll waits for; it ignores negative ones."""
    if not arguments.startswith("[{"):
        return []
    end = arguments.find("}], ")
    if "}, ..." in arguments[: end + 4]:
        return []
    return [match for match in POLLED.finditer(arguments) if match[1][0] != "-"]


def _selected(arguments: str) -> list[re.Match[str]]:
    """The file descriptors in the three sets of select."""
    first = FIRST.match(arguments)
    found: list[re.Match[str]] = []
    position = first.end() if first is not None else len(arguments)
    for _ in range(3):
        if arguments[position : position + 1] == "[":
            member = MEMBER.match(arguments, position + 1)
            position += 1
            while member is not None:
                found.append(member)
                position = member.end()
                member = MEMBER.match(arguments, position + 1) if arguments[position] == " " else None
            position += 1
        elif (none := NO_SET.match(arguments, position)) is not None:
            position = none.end()
        position += 2
    return found


def _is_thread(arguments: str) -> bool:
    flags = FLAGS.search(arguments)
    if flags is not None and int(flags[1], 16) & CLONE_THREAD:
        return True
    return "CLONE_THREAD" in arguments


def _bytes(text: str) -> bytes:
    """The bytes of a text with the escapes of C."""

    def plain(escaped: re.Match[bytes]) -> bytes:
        if escaped[1]:
            return bytes((int(escaped[1], 16),))
        if escaped[2]:
            return bytes((int(escaped[2], 8) & 0xFF,))
        return PLAIN_ESCAPES.get(escaped[3], escaped[3])

    return ESCAPE.sub(plain, text.encode(errors="replace"))
