"""Effects: what late packets do to a measure, and what may be said of it for certain."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from statistics import median
from typing import NamedTuple

from shaper.experiment import statistics
from shaper.experiment.statistics import Estimate

LEAST_POINTS = 5
"""A curve of fewer says nothing of steps."""
NEGLIGIBLE = 0.1
"""An effect that is certainly smaller than this (ms per ms) is none."""


class Effect(NamedTuple):
    """What a class does to a measure, in ms per ms that its packets are late.

    Attributes:
        factor: the class.
        slope: the effect.
        wide: the same, with an interval that holds for all classes together.
        p: how probable such an effect is without any cause, corrected for the number of classes.
        bend: by how much the effect of the simple delay exceeds that of the double one.
        bend_p: as `p`, for the bend.
        peaks: if the outcome falls into two groups: their effects.
        curve: how much longer it takes, in the measure's unit, by how late (ms) the packets are.
        predicted: what the holds of the packets say; None if that is not known.
    """

    factor: str
    slope: Estimate
    wide: Estimate
    p: float
    bend: Estimate
    bend_p: float
    peaks: tuple[float, float] | None
    curve: Sequence[tuple[float, Estimate]]
    predicted: float | None

    @property
    def is_none(self) -> bool:
        """It is certainly smaller than `NEGLIGIBLE`."""
        return max(abs(self.wide.low), abs(self.wide.high)) < NEGLIGIBLE

    @property
    def is_certain(self) -> bool:
        """It is not by chance, and not negligible."""
        return self.p < 1 - statistics.LEVEL and not self.is_none

    @property
    def is_simple(self) -> bool:
        """One number describes it: it neither bends nor has two peaks."""
        return not self.bends and self.peaks is None

    @property
    def step(self) -> tuple[float, float, float] | None:
        """Between which delays (ms) the curve rises or falls by a step, and how high that is; None if it has no step.

        It is what the packets cost there, beyond the curve's usual slope. It must be certain, and twice as steep as the
        curve on both sides of it: a threshold after which each ms costs something is not a step.
        """
        points = [(0.0, Estimate(0, 0)), *self.curve]
        if len(points) < LEAST_POINTS:
            return None
        rises = [high.value - low.value for (_, low), (_, high) in pairwise(points)]
        widths = [end - start for (start, _), (end, _) in pairwise(points)]
        slopes = [rise / width for rise, width in zip(rises, widths, strict=True)]
        usual = median(slopes)
        at = max(range(len(slopes)), key=lambda each: abs(rises[each] - usual * widths[each]))
        height = rises[at] - usual * widths[at]
        beside = max(map(abs, slopes[max(0, at - 1) : at] + slopes[at + 1 : at + 2]), default=0.0)
        margin = points[at][1].margin + points[at + 1][1].margin
        if abs(height) < max(margin, widths[at]) or abs(slopes[at]) < 2 * beside:
            return None
        return points[at][0], points[at + 1][0], height

    @property
    def differs(self) -> bool:
        """It is certainly not what was predicted."""
        if self.predicted is None or not self.is_simple:
            return False
        return abs(self.predicted - self.slope.value) > max(NEGLIGIBLE, self.wide.margin)

    @property
    def bends(self) -> bool:
        """It is not the same for both delays."""
        return self.bend_p < 1 - statistics.LEVEL and abs(self.bend.value) > NEGLIGIBLE


class Pair(NamedTuple):
    """What two classes do together beyond the sum of what each does alone, in ms per ms; see `Effect`."""

    factors: tuple[str, str]
    beyond: Estimate
    p: float

    @property
    def is_certain(self) -> bool:
        """It is not by chance, and not negligible."""
        return self.p < 1 - statistics.LEVEL and abs(self.beyond.value) > NEGLIGIBLE


class Measured(NamedTuple):
    """What all classes do to one measure.

    Attributes:
        unit: of the measure.
        undisturbed: the median of the trials in which nothing was late.
        effects: of each class, in the order of their first packets.
        together: of all classes late at once.
        beyond: by how much that exceeds the sum of the effects.
        pairs: of classes; none if they were not tried.
    """

    name: str
    unit: str
    undisturbed: float
    effects: Sequence[Effect]
    together: Estimate
    beyond: Estimate
    pairs: Sequence[Pair]

    @property
    def interacts(self) -> bool:
        """All classes together do something else than the sum."""
        return self.beyond.p < 1 - statistics.LEVEL and abs(self.beyond.value) > NEGLIGIBLE
