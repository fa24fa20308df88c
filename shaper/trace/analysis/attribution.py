"""Attribution: which held packets made up each blocking."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from shaper.journal import Record
from shaper.report.blocking import Blocking, Dropped, Waker
from shaper.trace.analysis.analysis import Analysis
from shaper.trace.analysis.packets import Packets, label
from shaper.trace.analysis.path import Path, Step, waited_for
from shaper.trace.analysis.tasks import Off, Task


class Attribution:
    """Explains the sleeps that an analysis finds.

    Args:
        analysis: not begun yet.
        records: the journal of a shaper that ran at the same time; none without one.

    Attributes:
        packets: those of the journal.
        path: finds critical paths.
    """

    def __init__(self, analysis: Analysis, records: Iterable[Record] = ()) -> None:
        self._analysis = analysis
        self.packets = Packets(records, analysis.contexts)
        self.path = Path(analysis, self.packets)
        analysis.observe("net_dev_queue", self.packets.note)

    def explain(self, task: Task, off: Off) -> Blocking:
        """The blocking for a task's sleep: what woke the task, and what the duration is made of."""
        end = off.end if off.end >= 0 else self._analysis.last
        candidates = self.packets.woke(off.by, off.woken, off.waker) if off.end >= 0 else []
        waker, reason = off.waker, waited_for(off)
        if len(candidates) == 1:
            waker, reason = Waker("packet", label(candidates[0])), "network"
        steps = self.path.of_wait(task, off) if off.end >= 0 else [Step(off.start, end, "unknown")]
        spent = Counter[str]()
        for step in steps:
            spent[_part(step, task)] += step.duration
        held = tuple(step.hold.part(step.duration) for step in steps if step.hold is not None)
        dropped = tuple(
            Dropped(lost.id, lost.kind, lost.by, step.duration, step.packet.arrived - lost.arrived)
            for step in steps
            if (lost := step.lost) is not None and step.packet is not None
        )
        return Blocking(
            task=task.comm,
            role=task.role,
            pid=task.process,
            tid=task.tid,
            syscall=off.syscall,
            fd=off.fd,
            file=off.file,
            start=off.start,
            duration=end - off.start,
            waited_for=reason,
            waker=waker,
            held=held,
            dropped=dropped,
            before_client=spent["before client"],
            peer=spent["peer"],
            cpu_wait=spent["cpu"],
            retransmission=spent["retransmission"],
            delayed_ack=spent["delayed ack"],
            pacing=spent["pacing"],
            timer=spent["timer"],
            disk=spent["disk"],
            interrupt=spent["interrupt"],
            unexplained=spent["unexplained"],
            ambiguous=tuple(label(record) for record in candidates) if len(candidates) > 1 else (),
            timeouts=off.timeouts,
            ended=off.end >= 0,
        )


def _part(step: Step, task: Task) -> str:
    """The part of the task's blocking that the step belongs to."""
    if step.task is not None and step.task is not task:
        return "peer"
    if step.kind == "running":
        return "timer"  # of the task itself, between two time-outs of its own
    return "unexplained" if step.kind in ("unknown", "network", "task") else step.kind
