"""The event model: what every reader yields and every analysis takes, whatever recorded it.

Names are the kernel's own, as in /sys/kernel/tracing/events. So are the fields, except
where the sources differ; there the model has one form for all:

| event                       | fields                                                         |
|-----------------------------|----------------------------------------------------------------|
| sys_enter                   | syscall: its name; fd where known; and what the source decodes  |
| sys_exit                    | syscall; ret                                                    |
| sched_switch                | prev_state: "R", "S", "D", … (ps(1)); next_pid; next_comm       |
| sched_waking                | pid, comm: who is woken; context: "h" or "s" where recorded     |
| sched_process_fork          | child_pid; child_comm; thread: 1 for a thread where known       |
| softirq_entry, softirq_exit | vec: "NET_RX", …                                                |
| irq_handler_entry, …_exit   | irq: "24 virtio0"                                               |
| hrtimer_expire_entry, …     | function                                                        |
| net_dev_queue               | len: of the IP packet; what else the source knows of it         |
| inet_sock_set_state         | newstate: "TCP_SYN_SENT", …                                    |
| task                        | a snapshot: pid, of: its process, comm, parent                 |
| file                        | a snapshot: pid, or files: a table's address; fd; file          |
| no_scheduler                | first and last, if the source knows only how long calls took    |
| lost                        | count: of events that the recorder lost around that time        |

Any event may have tgid: the process of the task that was running. Readers yield events in
order of time, one by one, so a trace of any size can be read.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, TextIO

from shaper.errors import ShaperError

Clock = Literal["mono", "wall", "boot", "own", "unknown"]
"""Which clock a trace's times are of: CLOCK_MONOTONIC, CLOCK_REALTIME, CLOCK_BOOTTIME, one that only the tracer knows,
or one that the trace doesn't name."""


def open_text(path: Path) -> TextIO:
    """Open a trace that is text. It may hold any bytes, since the kernel cuts names in the middle of a character.

    Only a line feed ends a line: other control characters may be part of a name.
    """
    return path.open(encoding="utf-8", errors="replace", newline="\n")


class TraceError(ShaperError):
    """A trace can't be recorded or read, or not to its end."""


class TraceEvent(NamedTuple):
    """One event of the kernel.

    Attributes:
        at: when, in ns of the trace's clock.
        cpu: on which CPU.
        tid: the task that was running there; 0 for the idle task.
        comm: the task's name; "" if the source doesn't give it.
        name: the event's name.
        fields: its fields by name.
    """

    at: int
    cpu: int
    tid: int
    comm: str
    name: str
    fields: dict[str, Any]


class Lack(NamedTuple):
    """An event that a trace lacks, as perf names it, and what is not known because of that."""

    event: str
    cost: str

    def __str__(self) -> str:
        return f"no {self.event} in this trace: {self.cost}"


@dataclass(frozen=True, slots=True)
class Trace:
    """A trace.

    Attributes:
        events: in order, to be read once.
        clock: of their times.
        recorded: the names of the events that were recorded, whether there were any or not; empty if the trace
            doesn't say.
        lacks: what it lacks beside events.
    """

    events: Iterator[TraceEvent]
    clock: Clock
    recorded: frozenset[str] = frozenset()
    lacks: tuple[Lack, ...] = ()

    def __iter__(self) -> Iterator[TraceEvent]:
        return self.events
