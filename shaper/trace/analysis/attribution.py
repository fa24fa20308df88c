"""Attribution: which held packets made up each blocking."""

from __future__ import annotations

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
        path: finds critical paths.
    """

    def __init__(self, analysis: Analysis, records: Iterable[Record] = ()) -> None:
        self._analysis = analysis
        self._packets = Packets(records, analysis.contexts)
        self.path = Path(analysis, self._packets)
        analysis.observe("net_dev_queue", self._packets.note)

    def explain(self, task: Task, off: Off) -> Blocking:
        """The blocking for a task's sleep: what woke the task, and what the duration is made of."""
        end = off.end if off.end >= 0 else self._analysis.last
        candidates = self._packets.woke(off.by, off.woken, off.waker) if off.end >= 0 else []
        waker, reason = off.waker, waited_for(off)
        if len(candidates) == 1:
            waker, reason = Waker("packet", label(candidates[0])), "network"
        steps = (
            self.path.of(task, off.start, end, past_client=False) if off.end >= 0 else [Step(off.start, end, "unknown")]
        )
        cpu_wait = sum(step.duration for step in steps if step.task is task and step.kind == "cpu")
        before_client = sum(step.duration for step in steps if step.kind == "before client")
        peer = sum(step.duration for step in steps if step.task is not None and step.task is not task)
        unexplained = sum(
            step.duration
            for step in steps
            if step.kind in ("unknown", "network", "task") and (step.task is task or step.task is None)
        )
        held = tuple(step.hold.part(step.duration) for step in steps if step.hold is not None)
        dropped = tuple(
            Dropped(step.dropped.id, step.dropped.kind, step.dropped.by, step.duration)
            for step in steps
            if step.dropped is not None
        )
        parts = cpu_wait + before_client + peer + unexplained + sum(part.duration for part in held)
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
            before_client=before_client,
            peer=peer,
            cpu_wait=cpu_wait,
            direct=end - off.start - parts,
            unexplained=unexplained,
            ambiguous=tuple(label(record) for record in candidates) if len(candidates) > 1 else (),
            ended=off.end >= 0,
        )
