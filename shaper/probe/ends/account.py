"""What an end wrote down, read back: its calls, each with the connection it was about.

`shaper.probe.ends.calls` writes it, a JSON object a line.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, NamedTuple

from shaper.wire.flow import Flow

Event = tuple[Flow | None, int]
"""A connection, None if it is not known, and POLLIN or POLLOUT."""


class Call(NamedTuple):
    """One system call of one end; times are ns of CLOCK_MONOTONIC.

    Attributes:
        result: what the kernel returned; minus the error number if it failed.
        error: the error's name, such as "ECONNREFUSED"; "" if there was none.
        bytes: how many were read or written; None for other calls.
        flow: the connection it was about, or that it accepted, from this end to the other.
        wanted: what a select, poll or epoll_wait waited for.
        ready: what it found ready.
    """

    role: str
    pid: int
    syscall: str
    fd: int
    start: int
    end: int
    result: int = 0
    error: str = ""
    bytes: int | None = None
    flow: Flow | None = None
    wanted: tuple[Event, ...] = ()
    ready: tuple[Event, ...] = ()

    @property
    def duration(self) -> int:
        """How long it took, in ns."""
        return self.end - self.start


class Account(NamedTuple):
    """All that one end did.

    Attributes:
        why: what went wrong; None if nothing did.
    """

    role: str
    pid: int
    calls: tuple[Call, ...]
    why: str | None


def read_account(role: str, pid: int, lines: Iterable[str]) -> Account:
    """Read an end's output. A last line that its death cut off is ignored."""
    calls: list[Call] = []
    flows: dict[int, Flow] = {}
    why: str | None = "it died"
    for line in lines:
        try:
            facts = json.loads(line)
        except ValueError:
            continue
        if "syscall" in facts:
            calls.append(_call(role, pid, facts, flows))
            if facts["syscall"] == "close":
                flows.pop(facts["fd"], None)
        elif "flow" in facts:
            flow = flows[facts["flow"]] = Flow(facts["protocol"], *facts["local"], *facts["remote"])
            if calls:
                # The connect or accept that made it.
                calls[-1] = calls[-1]._replace(flow=flow)
        elif "why" in facts:
            why = facts["why"]
    return Account(role, pid, tuple(calls), why)


def _call(role: str, pid: int, facts: dict[str, Any], flows: dict[int, Flow]) -> Call:
    return Call(
        role=role,
        pid=pid,
        syscall=facts["syscall"],
        fd=facts["fd"],
        start=facts["start_ns"],
        end=facts["end_ns"],
        result=facts["result"],
        error=facts.get("error", ""),
        bytes=facts.get("bytes"),
        flow=flows.get(facts["fd"]),
        wanted=tuple((flows.get(fd), events) for fd, events in facts.get("wanted", ())),
        ready=tuple((flows.get(fd), events) for fd, events in facts.get("ready", ())),
    )
