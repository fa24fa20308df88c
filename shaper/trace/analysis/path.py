"""The critical path: what a task waited for, back through other tasks and held packets.

It is found from the end of an interval backwards. A running task is followed back to its
last wakeup, and from there to what woke it: a task, and what that did before; or a packet,
its holds, and then the delivery or the task that sent it. The steps of the path join
without gap or overlap, so they add up to the interval.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Literal, NamedTuple

from shaper.journal import Record
from shaper.report.holds import PacketHold, holds, tile
from shaper.trace.analysis.analysis import Analysis
from shaper.trace.analysis.packets import Packets
from shaper.trace.analysis.tasks import Off, Task

Kind = Literal["running", "cpu", "hold", "timer", "disk", "network", "interrupt", "task", "before client", "unknown"]


class Step(NamedTuple):
    """A part of the path.

    Attributes:
        start, end: in ns.
        kind: what the time was spent on; "cpu" is waiting for a CPU, "task" a task of which nothing more is known.
        task: the task that spent it; None for packets and for what is unknown.
        hold: the whole hold that this is a part of, if it is one.
    """

    start: int
    end: int
    kind: Kind
    task: Task | None = None
    hold: PacketHold | None = None

    @property
    def duration(self) -> int:
        """In ns."""
        return self.end - self.start


class Path:
    """Finds critical paths, by what an analysis has found so far."""

    def __init__(self, analysis: Analysis, packets: Packets) -> None:
        self._analysis = analysis
        self._packets = packets

    def of(self, task: Task, since: int, until: int, *, past_client: bool = True) -> list[Step]:
        """The path of the task between these times (ns), the last step first.

        Args:
            past_client: follow the client to what it did before it opened its connection; otherwise that time is one
                step, "before client".
        """
        return [
            Step(start, end, "unknown") if step is None else step._replace(start=start, end=end)
            for start, end, step in tile(self._back(task, until, past_client), since, until)
        ]

    def _back(self, task: Task, at: int, past_client: bool) -> Iterator[Step]:
        """The steps before this time (ns), at which the task ran or was about to; the last first."""
        while True:
            off = task.last_off(at)
            if off is None:
                yield Step(min(task.since, at), at, "running", task)
                if task.forked_by is None:
                    yield Step(0, min(task.since, at), "task", task)
                    return
                task, at = task.forked_by, min(task.since, at)
                continue
            yield Step(off.end, at, "running", task)
            yield Step(off.woken, off.end, "cpu", task)
            if not off.slept:
                at = off.start
                continue
            packets = self._packets.woke(off.by, off.woken, off.waker)
            if packets:
                if len(packets) > 1:
                    return
                origin = yield from self._through(packets[0], past_client)
                if origin is None:
                    return
                task, at = origin
                continue
            by = self._analysis.find(off.by, off.woken) if off.by_task else None
            if by is None:
                yield Step(off.start, off.woken, waited_for(off), task)
                at = off.start
            elif by is task:
                return
            else:
                task, at = by, off.woken

    def _through(self, record: Record, past_client: bool) -> Generator[Step, None, tuple[Task, int] | None]:
        """The steps back over the holds of a packet and of the packets that led to it.

        Returns the task that sent the first of them, and when (ns); None where the path ends.
        """
        while True:
            for hold in reversed(holds(record)):
                yield Step(hold.start, hold.end, "hold", None, hold)
            sent = self._packets.sender(record)
            if sent is None:
                return None
            cause = self._packets.delivered(sent.tid, sent.at)
            if len(cause) > 1:
                return None
            if cause and cause[0].begin < record.begin:
                record = cause[0]
                continue
            if sent.context is not None:
                if sent.context.name == "TIMER":
                    yield Step(0, sent.at, "timer")
                return None
            if record.kind == "syn" and not past_client:
                yield Step(0, sent.at, "before client")
            task = self._analysis.find(sent.tid, sent.at)
            return None if task is None else (task, sent.at)


def waited_for(off: Off) -> Kind:
    """What the task slept for, to judge by its waker."""
    waker = off.waker
    if waker is None:
        return "unknown"
    if waker.kind == "softirq":
        return SOFTIRQ_KINDS.get(waker.name, "interrupt")
    if waker.kind == "irq":
        # A task that reads from a disk sleeps uninterruptibly.
        return "disk" if off.state == "D" else "interrupt"
    return WAKER_KINDS[waker.kind]


SOFTIRQ_KINDS: dict[str, Kind] = {
    "NET_RX": "network", "NET_TX": "network", "TIMER": "timer", "HRTIMER": "timer", "BLOCK": "disk",
}  # fmt: skip
WAKER_KINDS: dict[str, Kind] = {"hrtimer": "timer", "task": "task", "packet": "network"}
