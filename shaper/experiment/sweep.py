"""Sweep: a program under all combinations of some conditions, and how its times depend on them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple

from shaper.experiment import blocks, statistics
from shaper.experiment.factors import Factor
from shaper.experiment.measures import DURATION, TRAFFIC
from shaper.experiment.results import Level, Results
from shaper.experiment.statistics import Knee, Line
from shaper.experiment.subject import Subject
from shaper.experiment.trial import Trial
from shaper.report.table import Cell, table

if TYPE_CHECKING:
    from rich.console import Console

VERSION = 1
WAITED = 1.0
"""A call whose waits are all shorter than this (ms) is not shown."""


@dataclass
class Sweep(Subject):
    """The plan of a sweep.

    Each block has every condition once; see `blocks`.

    Attributes:
        factors: what varies.
        repeat: how many blocks.
    """

    factors: tuple[Factor, ...]
    repeat: int = 5

    def about(self) -> dict[str, Any]:
        """See `Subject.about`."""
        factors = {factor.name: factor.unit for factor in self.factors}
        return {"plan": "sweep", **super().about(), "factors": factors}

    def trials(self) -> Iterator[tuple[Trial, int, dict[str, Level]]]:
        """All trials in their order, each with its block and the levels of the factors."""
        conditions = list(product(*(zip(factor.values, factor.levels, strict=True) for factor in self.factors)))
        for block in range(self.repeat):
            for condition in blocks.block(conditions, self.seed, block):
                levels = {factor.name: level for factor, (_, level) in zip(self.factors, condition, strict=True)}
                yield self._trial(block, [value for value, _ in condition]), block, levels

    def _trial(self, block: int, values: Sequence[str]) -> Trial:
        policies: list[str] = []
        workload = self.workload
        for factor, value in zip(self.factors, values, strict=True):
            if factor.of_workload:
                workload += ("," if ":" in workload else ":") + factor.spec(value)
            else:
                policies.append(factor.spec(value))
        return self.trial(policies, block, workload)


class Point(NamedTuple):
    """A measure under one condition.

    Attributes:
        levels: the condition.
        trials: how many there were.
        median, low, high: of the trials, see `statistics.middle`.
    """

    levels: Mapping[str, Level]
    trials: int
    median: float
    low: float
    high: float


class Fit(NamedTuple):
    """How a measure depends on the first factor that is a number.

    Attributes:
        others: the levels of the other factors.
    """

    others: Mapping[str, Level]
    line: Line
    knee: Knee | None


class Curve(NamedTuple):
    """One measure in all of a sweep.

    Attributes:
        points: in the order of the conditions.
        fits: one for each combination of the other factors' levels; none if no factor is a number.
    """

    name: str
    unit: str
    points: Sequence[Point]
    fits: Sequence[Fit]


class SweepReport:
    """What a sweep has found.

    Attributes:
        results: see above.
        factors: the names of the factors, each with its unit.
        axis: the factor that lines are drawn over; None if none is a number.
        curves: one for each measure; the traffic's come last.
    """

    def __init__(self, results: Results) -> None:
        self.results = results
        self.factors: dict[str, str] = results.about["factors"]
        self.axis = next((name for name, unit in self.factors.items() if unit != "text"), None)
        found = {name: measure.unit for result in results.of for name, measure in result.measures.items()}
        names = [DURATION, *sorted(set(found) - {DURATION, *TRAFFIC}), *TRAFFIC]
        self.curves = [self._curve(name, found[name]) for name in names if name in found]

    @property
    def times(self) -> list[Curve]:
        """The curves that are shown: neither the traffic's, nor those of calls that never waited."""
        return [
            curve
            for curve in self.curves
            if curve.name not in TRAFFIC
            and (curve.name == DURATION or curve.unit != "ms" or max(point.median for point in curve.points) >= WAITED)
        ]

    def _curve(self, name: str, unit: str) -> Curve:
        values: dict[tuple[Level, ...], list[float]] = {}
        for result in self.results.of:
            measure = result.measures.get(name)
            # A call that was not seen to wait did not wait; another number that is missing is not known.
            if measure is not None or unit == "ms":
                level = tuple(result.levels[factor] for factor in self.factors)
                values.setdefault(level, []).append(measure.value if measure else 0.0)
        points = [
            Point(dict(zip(self.factors, levels, strict=True)), len(found), *statistics.middle(found))
            for levels, found in sorted(values.items(), key=lambda item: [(str(type(x)), x) for x in item[0]])
        ]
        return Curve(name, unit, points, list(self._fits(values)))

    def _fits(self, values: Mapping[tuple[Level, ...], list[float]]) -> Iterator[Fit]:
        groups: dict[tuple[tuple[str, Level], ...], list[tuple[float, float]]] = {}
        for levels, found in values.items():
            named = dict(zip(self.factors, levels, strict=True))
            x = named.pop(self.axis or "", None)
            if isinstance(x, float):
                groups.setdefault(tuple(named.items()), []).extend((x, value) for value in found)
        for others, points in groups.items():
            if (line := statistics.line(points)) is not None:
                yield Fit(dict(others), line, statistics.knee(points))

    def title(self) -> str:
        """What was swept, in words."""
        about = self.results.about
        return str(about["workload"] or " ".join(about["command"]))

    def show(self, out: Console) -> None:
        """Print the medians, and how the measures depend on the conditions."""
        shown = self.times
        units = {curve.unit for curve in shown}
        unit = "ms" if units == {"ms"} else ""
        counts = {point.trials for curve in shown for point in curve.points}
        many = f"{min(counts)} to {max(counts)}" if len(counts) > 1 else f"{max(counts, default=0)}"
        by_levels: dict[tuple[Level, ...], dict[str, float]] = {}
        for curve in shown:
            for point in curve.points:
                by_levels.setdefault(tuple(point.levels.values()), {})[curve.name] = point.median
        rows: list[list[Cell]] = [
            [*map(_level, levels), *(found.get(curve.name) for curve in shown)] for levels, found in by_levels.items()
        ]
        heads = [f"{name} ({unit})" if unit != "text" else name for name, unit in self.factors.items()]
        title = f"{self.title()}: medians of {many}{f', {unit}' if unit else ''}"
        out.print(title, style="bold")
        out.print(table([*heads, *(curve.name for curve in shown)], rows))
        fitted = [(curve, fit) for curve in shown for fit in curve.fits]
        if fitted:
            others = [name for name in self.factors if name != self.axis]
            columns = ["measure", *others, "slope", "from", "to (95 %)", "at 0", "knee"]
            lines: list[list[Cell]] = [
                [
                    curve.name, *map(_level, fit.others.values()), fit.line.slope, fit.line.low, fit.line.high,
                    fit.line.at_zero, _knee(fit.knee),
                ]
                for curve, fit in fitted
            ]  # fmt: skip
            out.print()
            per = f"{unit} per {self.factors[self.axis or '']}".strip()
            out.print(table(columns, lines, title=f"Lines over {self.axis}: {per}"))
        self.results.show_doubts(out)

    def as_json(self) -> dict[str, Any]:
        """The document of `shaper sweep --json`."""
        return {
            "v": VERSION,
            **self.results.about,
            "trials": len(self.results.of),
            "doubtful": self.results.doubtful(),
            "measures": [
                {
                    "name": curve.name,
                    "unit": curve.unit,
                    "points": [point._asdict() for point in curve.points],
                    "lines": [
                        {
                            "over": self.axis,
                            "others": fit.others,
                            "slope": fit.line.slope,
                            "low": fit.line.low,
                            "high": fit.line.high,
                            "at_zero": fit.line.at_zero,
                            "knee": fit.knee and fit.knee._asdict(),
                        }
                        for fit in curve.fits
                    ],
                }
                for curve in self.curves
            ],
        }


def _level(level: Level) -> str:
    return level if isinstance(level, str) else f"{level:g}"


def _knee(knee: Knee | None) -> str:
    return "" if knee is None else f"at {knee.at:g}: {knee.before:.2f}, then {knee.after:.2f}"
