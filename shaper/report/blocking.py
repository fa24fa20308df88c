"""Blockings: times in which a task slept in a system call, what woke it, and which held packets were to blame.

The probe finds them by the times of its own calls, the tracer by the kernel's events.
Both print and write them the same way. Times and durations are int ns; only tables and
JSON (see `as_json`) have ms.
"""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any, Literal, TextIO

from shaper.report.table import Cell, table
from shaper.units import ms

if TYPE_CHECKING:
    from rich.table import Table

Kind = Literal["packet", "softirq", "irq", "hrtimer", "task"]

# The classes of `shaper.wire.segment` as people write them.
LABELS = {
    "syn": "SYN", "synack": "SYN-ACK", "handshake-ack": "ACK", "pure-ack": "ACK", "dup-ack": "dup ACK",
    "window-update": "window update", "fin": "FIN", "rst": "RST", "udp": "UDP", "icmp": "ICMP",
}  # fmt: skip


def packet_name(kind: str, packet: int) -> str:
    """A packet's name in reports, from its class and its id in the journal: "SYN-ACK #2"."""
    return f"{LABELS.get(kind, kind)} #{packet}"


@dataclass(frozen=True, slots=True)
class Waker:
    """What ended a blocking, by kind and name: "softirq" "NET_RX", "task" "nc[4711]", "packet" "SYN-ACK #2"."""

    kind: Kind
    name: str

    def __str__(self) -> str:
        if self.kind in ("task", "hrtimer"):
            return self.name
        return f"{self.kind if self.kind == 'packet' else self.kind.upper()} {self.name}"


PARTS = (
    "before_client", "peer", "cpu_wait", "retransmission", "delayed_ack", "pacing", "timer", "disk", "interrupt",
    "unexplained",
)  # fmt: skip
"""The attributes of a blocking that, with the parts of holds, add up to its duration."""
SHAPER = "shaper"
"""Stands for the policy where none held a packet: the time was shaper's own."""
LEAST = ms // 20
"""Parts that are shorter (ns) are not printed: they would be 0.0 ms."""


@dataclass(frozen=True, slots=True)
class HoldPart:
    """The part of a packet's hold that explains a part of a blocking.

    Attributes:
        packet: the packet's id in the journal.
        kind: its class, such as "synack".
        policy: the one that held it; `SHAPER` if none did.
        duration: the part inside the blocking that no other part covers, in ns.
        hold: the whole hold, in ns.
    """

    packet: int
    kind: str
    policy: str
    duration: int
    hold: int


@dataclass(frozen=True, slots=True)
class Dropped:
    """A packet that was lost, and the part of a blocking until it was sent again.

    Attributes:
        packet: the packet's id in the journal.
        kind: its class.
        policy: the one that dropped it.
        duration: the part inside the blocking that no other part covers, in ns.
        again: how long after it the sender's timer expired, in ns.
    """

    packet: int
    kind: str
    policy: str
    duration: int
    again: int

    def __str__(self) -> str:
        by = f" ({self.policy})" if self.policy else ""
        return f"{packet_name(self.kind, self.packet)} lost{by}, sent again after {self.again / ms:.0f} ms"


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocking:
    """One interval in which a task was off the CPU because of a system call.

    `duration` is the sum of the holds' parts and of the attributes that `PARTS` names.

    Attributes:
        task: the name of the task.
        role: "server" or "client"; "" if that is not known.
        pid, tid: of the process and the thread.
        syscall: the call; "" where the task slept outside of one, as for a page fault.
        fd: the file descriptor that the call was about.
        file: what that is: a path, or a socket's two ends.
        start: when it fell asleep, in ns of the trace's clock.
        duration: until it ran again, in ns.
        waited_for: "network", "timer", "disk", "task" …; the probe has finer words (see its `Need`).
        waker: what woke it; None if nothing was seen.
        held: the parts of holds that explain it, the last first.
        dropped: the packets whose retransmission it waited for, the last first; a part of `retransmission`.
        before_client: how long it waited before the client began, in ns.
        peer: how long it waited while the peer computed or slept, in ns.
        cpu_wait: how long it waited for a CPU after it had been woken, in ns.
        retransmission: how long until TCP sent a packet again, in ns; the packet may have been lost, or only late.
        delayed_ack: how long TCP delayed an ACK, in ns.
        pacing: how long TCP's pacing kept a packet back, in ns.
        timer: how long it waited for a timer of its own, in ns.
        disk: how long it waited for a disk, in ns.
        interrupt: how long it waited for other work of the kernel's, in ns.
        unexplained: the rest, in ns.
        ambiguous: the packets that may have woken it, if there are several.
        timeouts: how often the call timed out and was made again, before what it waited for came.
        on_path: it is on the critical path of the command that was traced.
        ended: False if it was still asleep at the end.
    """

    task: str
    pid: int
    tid: int
    syscall: str
    start: int
    duration: int
    role: str = ""
    fd: int | None = None
    file: str = ""
    waited_for: str = ""
    waker: Waker | None = None
    held: tuple[HoldPart, ...] = ()
    dropped: tuple[Dropped, ...] = ()
    before_client: int = 0
    peer: int = 0
    cpu_wait: int = 0
    retransmission: int = 0
    delayed_ack: int = 0
    pacing: int = 0
    timer: int = 0
    disk: int = 0
    interrupt: int = 0
    unexplained: int = 0
    ambiguous: tuple[str, ...] = ()
    timeouts: int = 0
    on_path: bool = False
    ended: bool = True

    @property
    def end(self) -> int:
        """When it ran again, in ns."""
        return self.start + self.duration


def call_name(blocking: Blocking) -> str:
    """Its system call, named as the kernel and strace name it."""
    return blocking.syscall or "(no call)"


def as_json(blocking: Blocking) -> dict[str, Any]:
    """One entry of `blockings[]`."""
    waker = blocking.waker
    return {
        "task": blocking.task, "role": blocking.role, "pid": blocking.pid, "tid": blocking.tid,
        "syscall": blocking.syscall, "fd": blocking.fd, "file": blocking.file,
        "start_ns": blocking.start, "duration_ms": blocking.duration / ms, "waited_for": blocking.waited_for,
        "waker": None if waker is None else {"kind": waker.kind, "name": waker.name},
        "held": [
            {
                "packet": held.packet, "class": held.kind, "policy": held.policy,
                "ms": held.duration / ms, "hold_ms": held.hold / ms,
            }
            for held in blocking.held
        ],
        "dropped": [
            {
                "packet": lost.packet, "class": lost.kind, "policy": lost.policy, "ms": lost.duration / ms,
                "sent_again_after_ms": lost.again / ms,
            }
            for lost in blocking.dropped
        ],
        **{f"{part}_ms": getattr(blocking, part) / ms for part in PARTS},
        "ambiguous": list(blocking.ambiguous), "timeouts": blocking.timeouts,
        "on_path": blocking.on_path, "ended": blocking.ended,
    }  # fmt: skip


def tables(blockings: Iterable[Blocking], origin: int) -> list[Table]:
    """A table for each task, in the order of their first blocking; starts are in ms since the origin (ns)."""
    by_task: dict[int, list[Blocking]] = {}
    for blocking in blockings:
        by_task.setdefault(blocking.tid, []).append(blocking)
    return [_table(rows, origin) for rows in by_task.values()]


def _table(blockings: Sequence[Blocking], origin: int) -> Table:
    first = blockings[0]
    columns = ["Start (ms)", "Duration (ms)", "Syscall", "Wakeup"]
    explained = any(blocking.held or blocking.dropped or blocking.ambiguous for blocking in blockings)
    if explained:
        columns.append("Because of (ms)")
    rows: list[list[Cell]] = [
        [
            (blocking.start - origin) / ms,
            blocking.duration / ms,
            _call(blocking),
            str(blocking.waker or "?") if blocking.ended else "still blocked",
            *([because(blocking)] if explained else []),
        ]
        for blocking in blockings
    ]
    return table(columns, rows, title=f"{first.role} {first.task}[{first.tid}]".strip())


def _call(blocking: Blocking) -> str:
    """The call, its file descriptor, and how often it was made: "epoll_wait 5, 3 times"."""
    fd = "" if blocking.fd is None else f" {blocking.fd}"
    again = f", {blocking.timeouts + 1} times" if blocking.timeouts else ""
    return f"{call_name(blocking)}{fd}{again}"


def because(blocking: Blocking) -> str:
    """What the duration is made of, in ms: "← ACK(100.1) ← SYN-ACK(100.0) ← SYN(100.1), before client 499.7"."""
    if blocking.ambiguous:
        return "ambiguous: " + " or ".join(blocking.ambiguous)
    chain, dropped = [], deque(blocking.dropped)
    by_policies = (held for held in blocking.held if held.policy != SHAPER)
    for (packet, kind), parts in groupby(by_policies, key=lambda held: (held.packet, held.kind)):
        # Packets are numbered in the order of their arrival, and the chain goes back in time.
        while dropped and dropped[0].packet > packet:
            chain.append(f"← {dropped.popleft()}")
        duration = sum(held.duration for held in parts)
        chain.append(f"← {LABELS.get(kind, kind)}({duration / ms:.1f})")
    chain += [f"← {lost}" for lost in dropped]
    others = [f"{name} {duration / ms:.1f}" for name, duration in _rest(blocking)]
    return ", ".join([" ".join(chain), *others] if chain else others)


def because_each(blocking: Blocking) -> list[str]:
    """What `because` says, a line for each part: "SYN-ACK #2 held by delay: 50.0 of 100.0 ms"."""
    if blocking.ambiguous:
        return [because(blocking)]
    lines = []
    for held in blocking.held:
        if held.policy != SHAPER:
            whole = f" of {held.hold / ms:.1f}" if held.hold - held.duration >= LEAST else ""
            name = packet_name(held.kind, held.packet)
            lines.append(f"{name} held by {held.policy}: {held.duration / ms:.1f}{whole} ms")
    lines += map(str, blocking.dropped)
    return lines + [f"{name}: {duration / ms:.1f} ms" for name, duration in _rest(blocking)]


def _rest(blocking: Blocking) -> list[tuple[str, int]]:
    """Everything else that it is made of, each with its duration (ns), as far as it is worth a word."""
    rest = (
        ("before client", blocking.before_client),
        ("peer", blocking.peer),
        ("CPU", blocking.cpu_wait),
        ("retransmission", blocking.retransmission - sum(lost.duration for lost in blocking.dropped)),
        ("delayed ACK", blocking.delayed_ack),
        ("pacing", blocking.pacing),
        ("timer", blocking.timer),
        ("disk", blocking.disk),
        ("interrupt", blocking.interrupt),
        ("shaper", sum(held.duration for held in blocking.held if held.policy == SHAPER)),
        ("unexplained", blocking.unexplained),
    )
    return [(name, duration) for name, duration in rest if abs(duration) >= LEAST]


def write_csv(blockings: Iterable[Blocking], file: TextIO) -> None:
    """Write a line per blocking, with the names of `as_json`; the chain of holds is one field."""
    writer = None
    for blocking in blockings:
        row = as_json(blocking)
        row["waker"] = str(blocking.waker or "")
        row["held"] = because(blocking) if blocking.held or blocking.dropped else ""
        del row["dropped"]
        row["ambiguous"] = " ".join(blocking.ambiguous)
        if writer is None:
            writer = csv.DictWriter(file, row)
            writer.writeheader()
        writer.writerow(row)
