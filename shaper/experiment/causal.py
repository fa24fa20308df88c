"""Causal profile: which packets a program waits for, found by making them late.

Each class of packets is made late in some trials and not in others; how much longer the program takes, for each ms that
the class was late, is the effect of the class. As with Coz (Curtsinger and Berger, SOSP 2015), the answer comes from an
intervention, so it holds for what runs in parallel too; with the packets' delays, the intervention is exact. A class
without effect has slack, in the words of critical-path analysis (Kelley and Walker 1959).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path
from shutil import rmtree
from typing import Any

from shaper.errors import ShaperError
from shaper.experiment import blocks
from shaper.experiment.classes import PacketClass, classify
from shaper.experiment.executor import Executor
from shaper.experiment.measures import DURATION, Measure
from shaper.experiment.profile import FIRST_CURVE, MOST_BLOCKS, PREDICTED, PREDICTION_BLOCK, Profile, predicted_name
from shaper.experiment.results import Level, Result, Results
from shaper.experiment.subject import Subject
from shaper.experiment.trial import Outcome, Trial
from shaper.report.blocking import HoldPart, call_name
from shaper.spec.load import expand
from shaper.trace.read.events import TraceError
from shaper.trace.read.source import read_trace
from shaper.trace.report import report
from shaper.units import ms, s

TIGHT = 0.05
"""The trials go on until no interval reaches further than this."""
LATE = "late"
"""The policy that makes packets late."""
LEAST_BLOCKS = 6
PREDICTIONS = 3
"""How many trials for each class say what it should do."""
LATER = 1.618
"""In them, one class is later than the others by this factor. With the golden ratio, a chain of its holds is never as
long as a chain of theirs."""
REMAINDER = 0.1
"""The share of a hold that makes a wait depend on it. Of a hold that had begun before the wait, the rest counts as much
as the whole: each ms more is one more for the wait. Less is the distance of two packets that were held together."""
PAIR_BLOCKS = 8
"""Blocks of trials in which two classes are late."""
CURVE_BLOCKS = 5
"""Blocks of trials in which classes that are not linear are late by some more times."""
QUARTERS = (1, 2, 3, 6)
"""These times, in quarters of the delay."""

Arm = tuple[int, ...]
"""How late (ns) each class is in a trial."""


@dataclass
class Causal(Subject):
    """The plan of a causal profile.

    A block has two trials in which nothing is late, two for each class, late by `delay` and by twice that, and one with
    all classes late; in an order of its own. After the first blocks it goes on until all intervals are tight, or the
    budget is spent. Classes that are not linear are then tried with more delays, and pairs if classes interact.

    Attributes:
        delay: by how much a class is late, in ns.
        order: "free" lets packets overtake late ones, "keep" makes them wait.
        split: the data segments of a connection are classes of their own.
        budget: the time, in ns, after which no new block begins, but for the second, without which there are no
            intervals; and as much again for pairs and for more delays.
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
        every = range(len(self.classes))
        arms = [*[self._late(0)] * 2, self._late(self.delay, *every)]
        arms += [self._late(times * self.delay, each) for each in every for times in (1, 2)]
        begun = time.monotonic_ns()
        for block in range(MOST_BLOCKS):
            if block > 1 and time.monotonic_ns() - begun > self.budget:
                return
            if block >= LEAST_BLOCKS and self._is_tight(results):
                return
            yield from self._block(arms, block)

    def predictions(self, traces: Path) -> Iterator[tuple[Trial, int, dict[str, Level]]]:
        """The trials that predict the effects: all classes are late, one of them by more than the others.

        The program waits for that class if its holds are on the critical path. Of packets that come at the same time,
        the path has only one, by chance; so the others come earlier. A command is traced, which changes its times: they
        count for nothing else.

        Args:
            traces: an empty folder, for the traces until they are read.
        """
        begun = time.monotonic_ns()
        for number in range(PREDICTIONS):
            if number and time.monotonic_ns() - begun > self.budget // 4:
                return
            for at in range(len(self.classes)):
                arm = tuple(round(self.delay * (LATER if each == at else 1)) for each in range(len(self.classes)))
                trial = self._trial(arm, number)
                if self.command:
                    where = traces / f"{number} {at}"
                    where.mkdir()
                    trial = replace(trial, trace=str(where))
                yield trial, PREDICTION_BLOCK, self._levels(arm)

    def pairs(self, results: Results) -> Iterator[tuple[Trial, int, dict[str, Level]]]:
        """The trials in which two classes are late at once, with those that they are compared to.

        There are none if no classes interact. Those that are not linear are left out: two delays together may pass a
        threshold.
        """
        found = [each for each in Profile(results).measures if each.interacts]
        which = [at for at in range(len(self.classes)) if any(each.effects[at].is_simple for each in found)]
        pairs = list(combinations(which, 2))
        if pairs:
            arms = [*[self._late(0)] * 2, *(self._late(self.delay, each) for each in which)]
            yield from self._rest(arms + [self._late(self.delay, *pair) for pair in pairs], MOST_BLOCKS, PAIR_BLOCKS)

    def curves(self, results: Results) -> Iterator[tuple[Trial, int, dict[str, Level]]]:
        """The trials in which classes that are not linear are late by more different times; none if all are linear."""
        shown = Profile(results).shown
        which = [at for at in range(len(self.classes)) if not all(found.effects[at].is_simple for found in shown)]
        arms = [self._late(self.delay * quarters // 4, each) for each in which for quarters in QUARTERS]
        if arms:
            yield from self._rest([*[self._late(0)] * 2, *arms], FIRST_CURVE, CURVE_BLOCKS)

    def _rest(self, arms: Sequence[Arm], first: int, count: int) -> Iterator[tuple[Trial, int, dict[str, Level]]]:
        begun = time.monotonic_ns()
        for block in range(first, first + count):
            if time.monotonic_ns() - begun > self.budget:
                return
            yield from self._block(arms, block)

    def _late(self, by: int, *which: int) -> Arm:
        return tuple(by if each in which else 0 for each in range(len(self.classes)))

    def _block(self, arms: Sequence[Arm], block: int) -> Iterator[tuple[Trial, int, dict[str, Level]]]:
        for place, arm in blocks.block(enumerate(arms), self.seed, block):
            # Only the two trials without anything late are equal but for this number.
            yield self._trial(arm, 2 * block + (place == 1)), block, self._levels(arm)

    def _levels(self, arm: Arm) -> dict[str, Level]:
        return {str(each): late / ms for each, late in zip(self.classes, arm, strict=True)}

    def _trial(self, arm: Arm, number: int) -> Trial:
        late = [each.spec(time, self.order) for each, time in zip(self.classes, arm, strict=False) if time]
        return self.trial(late, number)

    def result(self, trial: Trial, outcome: Outcome, levels: Mapping[str, Level], block: int) -> Result:
        """The result of a trial that has just ended.

        Raises:
            TraceError: the trial was traced, and events were lost.
        """
        found = super().result(trial, outcome, levels, block)
        if block == PREDICTION_BLOCK:
            return found._replace(measures=self._predicted(trial, outcome, levels))
        return found

    def _predicted(self, trial: Trial, outcome: Outcome, levels: Mapping[str, Level]) -> dict[str, Measure]:
        """What the class that is later than all others should do, by its holds that were waited for in turn."""
        if outcome.failed:
            return {}
        waited: dict[str, list[HoldPart]] = {DURATION: holds_on_path(Path(trial.trace), outcome) if trial.trace else []}
        for blocking in outcome.blockings:
            for name in (f"{blocking.role} {call_name(blocking)}", *([DURATION] if blocking.role == "client" else [])):
                waited.setdefault(name, []).extend(blocking.held)
        before = sum(spec.partition(":")[0] == LATE for spec in expand(self.policies))
        factor = max(levels, key=lambda name: float(levels[name]))
        late = stage(before + list(levels).index(factor))
        found: dict[str, Measure] = {}
        for name, path in waited.items():
            # By the stage that held it: a packet may wait for a late one before it, too.
            shares: dict[int, float] = {}
            for held in path:
                if held.policy == late:
                    shares[held.packet] = shares.get(held.packet, 0.0) + held.duration / held.hold
            count = sum(share > REMAINDER for share in shares.values())
            found[predicted_name(name, factor)] = Measure(float(count), PREDICTED)
        return found

    def _is_tight(self, results: Results) -> bool:
        profile = Profile(results)
        shown = [found for found in profile.measures if found.unit == "ms"]
        return all(effect.slope.margin <= TIGHT for found in shown for effect in found.effects)


def holds_on_path(trace: Path, outcome: Outcome) -> list[HoldPart]:
    """The holds on the critical path of the trial's command, the last first. Removes the trace.

    Raises:
        TraceError: the trace can't be read, or events were lost.
    """
    found = report(read_trace(trace), outcome.records, pids=[outcome.pid])
    rmtree(trace)
    if found.lost or found.cut:
        raise TraceError(found.cut or f"{found.lost} events of the trace were lost")
    return [step.hold.part(step.duration) for step in found.path if step.hold is not None]


def stage(nth: int) -> str:
    """The name of the nth stage, from 0, among those of `late`."""
    return f"{LATE}#{nth + 1}" if nth else LATE
