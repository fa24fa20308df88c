"""Causal profile: which packets a program waits for, found by making them late.

Each class of packets is made late in some trials and not in others; how much longer the program takes, for each ms that
the class was late, is the effect of the class. As with Coz (Curtsinger and Berger, SOSP 2015), the answer comes from an
intervention, so it holds for what runs in parallel too; with the packets' delays, the intervention is exact. A class
without effect has slack, in the words of critical-path analysis (Kelley and Walker 1959).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

from shaper.errors import ShaperError
from shaper.experiment import blocks
from shaper.experiment.classes import PacketClass, classify
from shaper.experiment.executor import Executor
from shaper.experiment.measures import DURATION, Measure
from shaper.experiment.profile import MOST_BLOCKS, PREDICTED, Profile, predicted_name
from shaper.experiment.results import Level, Result, Results
from shaper.experiment.subject import Subject
from shaper.experiment.trial import Outcome, Trial
from shaper.report.blocking import call_name
from shaper.spec.load import expand
from shaper.units import ms, s

TIGHT = 0.05
"""The trials go on until no interval reaches further than this."""
LATE = "late"
"""The policy that makes packets late."""
LEAST_BLOCKS = 6
PAIR_BLOCKS = 8
"""Blocks of trials in which two classes are late."""

Arm = tuple[int, ...]
"""How late (ns) each class is in a trial."""


@dataclass
class Causal(Subject):
    """The plan of a causal profile.

    A block has two trials in which nothing is late, two for each class, late by `delay` and by twice that, and one with
    all classes late; in an order of its own. After the first blocks it goes on until all intervals are tight, or the
    budget is spent.

    Attributes:
        delay: by how much a class is late, in ns.
        order: "free" lets packets overtake late ones, "keep" makes them wait.
        split: the data segments of a connection are classes of their own.
        budget: the time, in ns, after which no new block begins, but for the second, without which there are no
            intervals; and as much again for pairs.
        classes: what was found in trials in which nothing was late; see `find`.
    """

    delay: int = 10 * ms
    order: str = "free"
    split: bool = False
    budget: int = 120 * s
    classes: list[PacketClass] = field(default_factory=list)

    def find(self, executor: Executor) -> None:
        """Find the classes in three trials in which nothing is late; not all may be in each of them.

        Raises:
            ShaperError: the command fails, or sends no packets.
        """
        for _, outcome in executor(self._trial((), -1 - number) for number in range(3)):
            if outcome.failed:
                last = outcome.stderr.decode(errors="replace").strip().rpartition("\n")[2]
                how = "did not end in time" if outcome.timed_out else f"ended with status {outcome.status}"
                raise ShaperError(f"with nothing late, the command {how}{f': {last}' if last else ''}")
            self.classes += dict.fromkeys(
                each for each in classify(outcome.records, split=self.split).values() if each not in self.classes
            )
        if not self.classes:
            raise ShaperError("no packets came; shaper sees those on lo of a private network")

    def about(self) -> dict[str, Any]:
        """See `Subject.about`."""
        return {
            "plan": "causal",
            **super().about(),
            "delay_ms": self.delay / ms,
            "order": self.order,
            "classes": [list(each) for each in self.classes],
            "factors": {str(each): "ms" for each in self.classes},
        }

    def trials(self, results: Results) -> Iterator[tuple[Trial, int, dict[str, Level]]]:
        """The trials of the first part; it ends depending on the results that there are by then."""
        count = len(self.classes)
        arms = [(0,) * count, (0,) * count, (self.delay,) * count]
        arms += [self._late(twice, each) for each in range(count) for twice in (1, 2)]
        begun = time.monotonic_ns()
        for block in range(MOST_BLOCKS):
            if block > 1 and time.monotonic_ns() - begun > self.budget:
                return
            if block >= LEAST_BLOCKS and self._is_tight(results):
                return
            yield from self._block(arms, block)

    def pairs(self) -> Iterator[tuple[Trial, int, dict[str, Level]]]:
        """The trials in which two classes are late at once, with those that they are compared to."""
        count = len(self.classes)
        arms = [(0,) * count, (0,) * count, *(self._late(1, each) for each in range(count))]
        arms += [self._late(1, *pair) for pair in combinations(range(count), 2)]
        begun = time.monotonic_ns()
        for block in range(MOST_BLOCKS, MOST_BLOCKS + PAIR_BLOCKS):
            if time.monotonic_ns() - begun > self.budget:
                return
            yield from self._block(arms, block)

    def _late(self, times: int, *which: int) -> Arm:
        return tuple(times * self.delay if each in which else 0 for each in range(len(self.classes)))

    def _block(self, arms: Sequence[Arm], block: int) -> Iterator[tuple[Trial, int, dict[str, Level]]]:
        for place, arm in blocks.block(enumerate(arms), self.seed, block):
            levels: dict[str, Level] = {str(each): late / ms for each, late in zip(self.classes, arm, strict=True)}
            # Only the two trials without anything late are equal but for this number.
            yield self._trial(arm, 2 * block + (place == 1)), block, levels

    def _trial(self, arm: Arm, number: int) -> Trial:
        late = [each.spec(time, self.order) for each, time in zip(self.classes, arm, strict=False) if time]
        return self.trial(late, number)

    def result(self, trial: Trial, outcome: Outcome, levels: Mapping[str, Level], block: int) -> Result:
        """The result of a trial that has just ended."""
        found = super().result(trial, outcome, levels, block)
        if levels and all(levels.values()):
            return found._replace(measures={**found.measures, **self._predictions(outcome)})
        return found

    def _predictions(self, outcome: Outcome) -> dict[str, Measure]:
        """What the holds that a workload's calls waited for, one after the other, say that each class should do."""
        found: dict[str, float] = {}
        before = sum(spec.partition(":")[0] == LATE for spec in expand(self.policies))
        stages = {stage(before + at): str(each) for at, each in enumerate(self.classes)}
        for blocking in outcome.blockings:
            names = [f"{blocking.role} {call_name(blocking)}", *([DURATION] if blocking.role == "client" else [])]
            for held in blocking.held:
                # By the stage that held it: a packet may wait for a late one before it, too.
                for name in names if held.policy in stages else ():
                    key = predicted_name(name, stages[held.policy])
                    found[key] = found.get(key, 0.0) + held.duration / self.delay
        return {key: Measure(value, PREDICTED) for key, value in found.items()}

    def _is_tight(self, results: Results) -> bool:
        profile = Profile(results)
        shown = [found for found in profile.measures if found.unit == "ms"]
        return all(effect.slope.margin <= TIGHT for found in shown for effect in found.effects)


def stage(nth: int) -> str:
    """The name of the nth stage, from 0, among those of `late`."""
    return f"{LATE}#{nth + 1}" if nth else LATE
