"""The plan of a comparison: blocks of trials, each with every condition once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from shaper.errors import ShaperError
from shaper.experiment import blocks
from shaper.experiment.compare.conditions import Condition
from shaper.experiment.compare.rows import Column, Wait
from shaper.experiment.compare.traced import read_waits
from shaper.experiment.results import Level, Result
from shaper.experiment.subject import Subject
from shaper.experiment.trial import Outcome, Trial
from shaper.trace.tracing import Tracing

CONDITION = "condition"
"""The only factor."""


@dataclass
class Compare(Subject):
    """Runs a workload, or a command whose calls are traced, under several conditions.

    Attributes:
        conditions: those that are compared.
        repeat: how many blocks.
        traces: a folder for the traces of a command.
    """

    conditions: Sequence[Condition]
    repeat: int = 3
    traces: Path = Path()
    _tracings: dict[str, Tracing] = field(default_factory=dict)
    _outcomes: dict[str, list[tuple[Outcome, Sequence[Wait]]]] = field(default_factory=dict)

    def about(self) -> dict[str, Any]:
        """See `Subject.about`."""
        return {"plan": "compare", **super().about(), "factors": {CONDITION: "text"}}

    def trials(self) -> Iterator[tuple[Trial, int, dict[str, Level]]]:
        """All trials, each with its block and the name of its condition.

        Raises:
            ProgramError: there is no such program, or it can't be run.
            TraceError: nothing here can trace the command.
        """
        for block in range(self.repeat):
            for condition in blocks.block(self.conditions, self.seed, block):
                yield self._trial(condition, block), block, {CONDITION: condition.name}

    def _trial(self, condition: Condition, block: int) -> Trial:
        trial = replace(
            self.trial(condition.policies, block),
            scenario=condition.scenario,
            netem=condition.netem,
            shaped=bool(condition.policies),
        )
        if not self.command:
            return trial
        where = self.traces / str(len(self._tracings))
        where.mkdir()
        tracing = Tracing(self.command, where)
        trial = replace(trial, command=tuple(tracing.command), trace="" if tracing.why_strace else str(where))
        self._tracings[trial.key] = tracing
        return trial

    def result(self, trial: Trial, outcome: Outcome, levels: Mapping[str, Level], block: int) -> Result:
        """The result of a trial that has just ended.

        Raises:
            ShaperError: a policy failed.
        """
        if outcome.summary["policy_failures"]:
            raise ShaperError(outcome.summary["problems"][0])
        if self.command:
            waits = read_waits(self._tracings[trial.key].trace)
        else:
            waits = [
                Wait(each.role, each.task, each.syscall, each.waited_for, each.duration - each.before_client)
                for each in outcome.blockings
            ]
        self._outcomes.setdefault(str(levels[CONDITION]), []).append((outcome, waits))
        return super().result(trial, outcome, levels, block)

    def columns(self) -> list[Column]:
        """What the trials so far have shown: a column for each condition that had one."""
        tracing = next(iter(self._tracings.values()), None)
        return [
            self._column(condition, self._outcomes[condition.name], tracing)
            for condition in self.conditions
            if condition.name in self._outcomes
        ]

    def _column(
        self, condition: Condition, found: Sequence[tuple[Outcome, Sequence[Wait]]], tracing: Tracing | None
    ) -> Column:
        stand_in = found[0][0].stand_in
        if stand_in is not None:
            condition = replace(condition, policies=(stand_in.policy,), note=str(stand_in))
        column = Column(
            condition,
            [waits for _, waits in found],
            [outcome.played for outcome, _ in found if outcome.played is not None],
        )
        if tracing is None:
            return column
        if tracing.why_strace is None:
            return replace(column, times_from="the kernel's tracer")
        return replace(column, times_from=f"strace, which slows the command down ({tracing.why_strace})")
