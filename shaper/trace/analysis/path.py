"""The critical path: what a task waited for, back through other tasks and held packets.

It is found from the end of an interval backwards. A running task is followed back to its
last wakeup, and from there to what woke it: a task, and what that did before; or a packet,
its holds, and then the delivery, the timer of TCP or the task that sent it. What a task did
before it fell asleep is not on the path if what woke it took longer: done sooner, it would
only have waited for longer. Where the path breaks off, as at a thread of the kernel whose
sleeps are not recorded, that costs one wait: it goes on at what the task did before. The
steps of the path join without gap or overlap, so they add up to the interval.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Literal, NamedTuple

from shaper.journal import Record
from shaper.report.holds import PacketHold, holds, tile
from shaper.report.timers import TimerKind
from shaper.trace.analysis.analysis import Analysis
from shaper.trace.analysis.packets import Packets
from shaper.trace.analysis.tasks import Off, Task

Kind = (
    Literal["running", "cpu", "hold", "timer", "disk", "network", "interrupt", "task", "before client", "unknown"]
    | TimerKind
)


class Step(NamedTuple):
    """A part of the path.

    Attributes:
        start, end: in ns.
        kind: what the time was spent on; "cpu" is waiting for a CPU, "task" a task of which nothing more is known.
        task: the task that spent it; None for packets and for what is unknown.
        hold: the whole hold that this is a part of, if it is one.
        packet: the packet that a timer of TCP sent, if this is the wait for that.
        lost: the packet that was dropped, if this is the wait for its retransmission.
    """

    start: int
    end: int
    kind: Kind
    task: Task | None = None
    hold: PacketHold | None = None
    packet: Record | None = None
    lost: Record | None = None

    @property
    def duration(self) -> int:
        """In ns."""
        return self.end - self.start


class Path:
    """Finds critical paths, by what an analysis has found so far."""

    def __init__(self, analysis: Analysis, packets: Packets) -> None:
        self._analysis = analysis
        self._packets = packets

    def of(self, task: Task, since: int, until: int, waits: list[tuple[Task, Off]] | None = None) -> list[Step]:
        """The path of the task between these times (ns), the last step first.

        Args:
            waits: gets the sleeps that the path leads through.
        """
        return self._laid(self._back(task, since, until, None, waits, past_client=True), since, until)

    def of_wait(self, task: Task, off: Off) -> list[Step]:
        """The path of the task's wait. What a client did before it opened its connection is one step."""
        return self._laid(self._back(task, off.start, off.end, off, None, past_client=False), off.start, off.end)

    def _laid(self, steps: Iterator[Step], since: int, until: int) -> list[Step]:
        return [
            Step(start, end, "unknown") if step is None else step._replace(start=start, end=end)
            for start, end, step in tile(steps, since, until)
        ]

    def _back(
        self,
        task: Task,
        since: int,
        until: int,
        wait: Off | None,
        waits: list[tuple[Task, Off]] | None,
        *,
        past_client: bool,
    ) -> Iterator[Step]:
        """The steps from `until` back to `since` (ns), the last first; what they leave out is unknown.

        The task ran at `until`, or was about to. If it waited until then, that may be an event loop's wait of several
        sleeps, which the task doesn't remember as one.
        """
        at, floor = until, since
        # The waits for tasks of which little is known: who slept, since when, and what was the floor before that.
        sleepers: list[tuple[Task, int, int]] = []
        seen: set[int] = set()
        while True:
            if at <= floor:
                if not sleepers:
                    return
                task, at, floor = sleepers.pop()
                continue
            off, wait = wait or (task.last_off(at) if task.followed else None), None
            if off is not None and off.start >= at:
                off = None  # the times of a damaged trace go back, but the path never goes forward
            if off is None:
                # Of a thread of the kernel that was there before, no sleep may have been recorded: it may not have run.
                known = task.followed and (task.entered > 0 or task.since > floor)
                began = min(task.since, at) if known else at
                yield Step(max(began, floor), at, "running", task)
                if known and task.forked_by is not None:
                    task, at = task.forked_by, began
                else:
                    yield Step(floor, began, "task", task)
                    at = floor
                continue
            yield Step(max(off.end, floor), at, "running", task)
            yield Step(max(off.woken, floor), off.end, "cpu", task)
            at = off.start
            if not off.slept or off.woken <= floor or id(off) in seen:
                continue
            # Where times are as coarse as a microsecond, two tasks may seem to wake each other at the same time.
            seen.add(id(off))
            if waits is not None:
                waits.append((task, off))
            asleep = max(off.start, floor)
            packets = self._packets.woke(off.by, off.woken, off.waker)
            if packets:
                if len(packets) > 1:
                    continue
                # A packet may have been held since before the wait. The wait is then explained by all of that: it would
                # have been shorter, had the packet been sent earlier.
                origin = yield from self._through(packets[0], since, asleep, past_client)
                while origin is not None and sleepers and origin[1] <= floor:
                    _, _, floor = sleepers.pop()  # the packets were sent before this wait began
            elif off.by_task:
                by = self._analysis.find(off.by, off.woken)
                origin = None if by is None or by is task else (by, off.woken)
            else:
                yield Step(asleep, off.woken, waited_for(off), task)
                origin = None
            if origin is None:
                continue
            # Of a task whose calls are not recorded, no more is known than that it ended this wait.
            if not origin[0].entered and floor < off.start <= origin[1]:
                sleepers.append((task, off.start, floor))
                floor = off.start
            task, at = origin[0], min(origin[1], off.end)

    def _through(
        self, record: Record, floor: int, asleep: int, past_client: bool
    ) -> Generator[Step, None, tuple[Task, int] | None]:
        """The steps back over the holds of a packet and of the packets that led to it.

        Returns the task that sent the first of them, and when (ns); None where the path ends.

        Args:
            floor: no step begins before this time (ns).
            asleep: since when (ns) the task slept that the packet woke.
        """
        delivered, reached = True, record.begin + 1
        # Times of several sources may differ a little, so that two packets seem to cause each other.
        while floor < (at := record.begin if delivered else record.arrived) < reached:
            reached = at
            if delivered:
                for hold in reversed(holds(record)):
                    yield Step(max(hold.start, floor), hold.end, "hold", None, hold)
            cause = self._packets.cause(record)
            if cause.record is not None:
                record, delivered = cause.record, True
            elif cause.expiry is not None:
                kind, began, started_by, delivered, lost = cause.expiry
                yield Step(max(began or asleep, floor), record.arrived, kind, None, None, record, lost)
                if started_by is None:
                    return None
                record = started_by
            elif cause.by == "task" and cause.sent is not None:
                sent = cause.sent
                if record.kind == "syn" and not past_client:
                    yield Step(floor, sent.at, "before client")
                task = self._analysis.find(sent.tid, sent.at)
                return None if task is None else (task, sent.at)
            else:
                return None
        return None


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
