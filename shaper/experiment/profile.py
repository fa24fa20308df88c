"""Profile: what the trials of a causal profile say, with intervals, corrected for the number of questions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from math import inf
from statistics import fmean
from typing import TYPE_CHECKING, Any, NamedTuple

from shaper.experiment import statistics
from shaper.experiment.measures import DURATION, TRAFFIC
from shaper.experiment.results import Results
from shaper.experiment.statistics import Estimate
from shaper.report.table import Cell, table

if TYPE_CHECKING:
    from rich.console import Console

VERSION = 1
MOST_BLOCKS = 40
"""Of trials in which one class is late; blocks with a higher number are of pairs."""
NEGLIGIBLE = 0.1
"""An effect that is certainly smaller than this (ms per ms) is none."""
PREDICTED = "predicted"
"""The unit of the numbers that are no measures: what the packets' holds say that a class should do."""


def predicted_name(measure: str, factor: str) -> str:
    """The name under which the results keep a prediction."""
    return f"{measure} <- {factor}"


class Effect(NamedTuple):
    """What a class does to a measure, in ms per ms that its packets are late.

    Attributes:
        factor: the class.
        slope: the effect.
        p: how probable such an effect is without any cause, corrected for the number of classes.
        is_none: it is certainly smaller than `NEGLIGIBLE`, for all classes together.
        bend: by how much the effect of the simple delay exceeds that of the double one.
        bend_p: as `p`, for the bend.
        peaks: if the outcome falls into two groups: their effects.
        predicted: what the holds of the packets say; None if that is not known.
    """

    factor: str
    slope: Estimate
    p: float
    is_none: bool
    bend: Estimate
    bend_p: float
    peaks: tuple[float, float] | None
    predicted: float | None

    @property
    def is_certain(self) -> bool:
        """It is not by chance, and not negligible."""
        return self.p < 1 - statistics.LEVEL and not self.is_none

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


class Profile:
    """What a causal profile has found.

    Attributes:
        results: the trials.
        measures: what was found for each measure.
    """

    def __init__(self, results: Results) -> None:
        self.results = results
        self._factors = list(results.about["factors"])
        self._delay: float = results.about["delay_ms"]
        found = {name: measure.unit for result in results.of for name, measure in result.measures.items()}
        self._units = {name: unit for name, unit in found.items() if unit != PREDICTED and name not in TRAFFIC}
        names = [DURATION, *sorted(set(self._units) - {DURATION})]
        self.measures = [self._measured(name) for name in names if name in self._units]

    @property
    def shown(self) -> list[Measured]:
        """The measures for which some packets matter, and the duration."""
        return [
            found
            for found in self.measures
            if found.name == DURATION or found.interacts or any(effect.is_certain for effect in found.effects)
        ]

    def title(self) -> str:
        """What was run, in words."""
        about = self.results.about
        return str(about["workload"] or " ".join(about["command"]))

    def _measured(self, name: str) -> Measured:
        first: list[Mapping[tuple[float, ...], list[float]]] = []
        second: list[Mapping[tuple[float, ...], list[float]]] = []
        for block, arms in sorted(self._blocks(name).items()):
            if self._late() in arms:
                (first if block < MOST_BLOCKS else second).append(arms)
        count, level = len(self._factors), 1 - (1 - statistics.LEVEL) / max(1, len(self._factors))
        # Of each block: the effects of the simple and of the double delay.
        once = [[self._effect(arms, self._late(1, each)) for each in range(count)] for arms in first]
        twice = [[self._effect(arms, self._late(2, each)) / 2 for each in range(count)] for arms in first]
        slopes = [
            [(one + 4 * two) / 5 for one, two in zip(*block, strict=True)] for block in zip(once, twice, strict=True)
        ]
        estimates = [statistics.trimmed(values) for values in _columns(slopes, count)]
        wide = [statistics.trimmed(values, level) for values in _columns(slopes, count)]
        bends = [
            statistics.trimmed([one - two for one, two in zip(*values, strict=True)])
            for values in zip(_columns(once, count), _columns(twice, count), strict=True)
        ]
        p = statistics.holm({factor: each.p for factor, each in zip(self._factors, estimates, strict=True)})
        bend_p = statistics.holm({factor: each.p for factor, each in zip(self._factors, bends, strict=True)})
        effects = [
            Effect(
                factor,
                estimates[at],
                p[factor],
                max(abs(wide[at].low), abs(wide[at].high)) < NEGLIGIBLE,
                bends[at],
                bend_p[factor],
                statistics.peaks([values[at] for values in twice], 3 * NEGLIGIBLE),
                self._predicted(name, factor),
            )
            for at, factor in enumerate(self._factors)
        ]
        all_late = (self._delay,) * count
        together = [self._effect(arms, all_late) for arms in first if all_late in arms]
        sums = [sum(values) for values, arms in zip(once, first, strict=True) if all_late in arms]
        beyond = [whole - parts for whole, parts in zip(together, sums, strict=True)]
        undisturbed = [value for arms in first for value in arms[self._late()]]
        return Measured(
            name,
            self._units[name],
            statistics.middle(undisturbed)[0] if undisturbed else 0.0,
            effects,
            statistics.trimmed(together),
            statistics.trimmed(beyond),
            self._pairs(second),
        )

    def _blocks(self, name: str) -> dict[int, dict[tuple[float, ...], list[float]]]:
        """The values of a measure, by block and by how late each class was."""
        blocks: dict[int, dict[tuple[float, ...], list[float]]] = {}
        for result in self.results.of:
            measure = result.measures.get(name)
            # A call that was not made did not wait; another number that is missing is not known.
            if measure is not None or self._units[name] == "ms":
                arm = tuple(float(result.levels[factor]) for factor in self._factors)
                blocks.setdefault(result.block, {}).setdefault(arm, []).append(measure.value if measure else 0.0)
        size = 3 + 2 * len(self._factors)
        return {block: arms for block, arms in blocks.items() if sum(map(len, arms.values())) >= size}

    def _late(self, times: int = 0, *which: int) -> tuple[float, ...]:
        return tuple(times * self._delay if each in which else 0.0 for each in range(len(self._factors)))

    def _effect(self, arms: Mapping[tuple[float, ...], list[float]], arm: tuple[float, ...]) -> float:
        return (fmean(arms[arm]) - fmean(arms[self._late()])) / self._delay

    def _predicted(self, name: str, factor: str) -> float | None:
        is_known = any(measure.unit == PREDICTED for result in self.results.of for measure in result.measures.values())
        if not is_known:
            return None
        key = predicted_name(name, factor)
        found = [result.measures[key].value for result in self.results.of if key in result.measures]
        return statistics.middle(found)[0] if found else 0.0

    def _pairs(self, blocks: Sequence[Mapping[tuple[float, ...], list[float]]]) -> list[Pair]:
        found: dict[tuple[int, int], Estimate] = {}
        for one, other in combinations(range(len(self._factors)), 2) if blocks else ():
            beyond = [
                self._effect(arms, self._late(1, one, other))
                - self._effect(arms, self._late(1, one))
                - self._effect(arms, self._late(1, other))
                for arms in blocks
            ]
            found[one, other] = statistics.trimmed(beyond)
        p = statistics.holm({str(pair): estimate.p for pair, estimate in found.items()})
        return [
            Pair((self._factors[pair[0]], self._factors[pair[1]]), estimate, p[str(pair)])
            for pair, estimate in found.items()
        ]


def _columns(rows: Sequence[Sequence[float]], count: int) -> list[list[float]]:
    return [[row[at] for row in rows] for at in range(count)]


def show(profile: Profile, out: Console) -> None:
    """Print the effects, the largest first, and what is unusual about them."""
    about, delay = profile.results.about, profile.results.about["delay_ms"]
    blocks = len({result.block for result in profile.results.of if result.block < MOST_BLOCKS})
    way = "others may overtake them" if about["order"] == "free" else "others wait behind them"
    out.print(f"{profile.title()}: {blocks} blocks of trials; packets {delay:g} or {2 * delay:g} ms late; {way}")
    for found in profile.shown:
        out.print()
        _show_measure(found, out)
    quiet = [found.name for found in profile.measures if found not in profile.shown]
    if quiet:
        out.print(f"\nNo packets matter for: {', '.join(quiet)}")
    profile.results.show_doubts(out)


def _show_measure(found: Measured, out: Console) -> None:
    certain = [effect for effect in found.effects if effect.is_certain]
    unclear = [effect for effect in found.effects if not effect.is_certain and not effect.is_none]
    has_prediction = any(effect.predicted is not None for effect in found.effects)
    listed = [
        *sorted(certain, key=lambda effect: -round(effect.slope.value, 1)),
        *unclear,
        *(effect for effect in found.effects if effect.is_none and (effect.predicted or 0) > NEGLIGIBLE),
    ]
    rows: list[list[Cell]] = [
        [
            effect.factor,
            effect.slope.value,
            effect.slope.margin,
            *([effect.predicted] if has_prediction else []),
            _remark(effect),
        ]
        for effect in listed
    ]
    rows += [[], ["all late at once", found.together.value, found.together.margin, *[None] * has_prediction, ""]]
    unit = f"{found.unit} per ms".strip()
    title = f"{found.name}, {found.undisturbed:.4g} {found.unit}".strip()
    columns = ["late packets", unit, "± 95 %", *(["predicted"] if has_prediction else []), ""]
    out.print(table(columns, rows, title=title))
    none = [effect for effect in found.effects if effect.is_none and effect not in listed]
    if none:
        most = max(max(abs(effect.slope.low), abs(effect.slope.high)) for effect in none)
        out.print(f"No effect (within ± {most:.2f}): {', '.join(effect.factor for effect in none)}")
    certain_pairs = [pair for pair in found.pairs if pair.is_certain]
    for pair in certain_pairs:
        how = (
            "together they cost less than one after the other: they are waited for at the same time"
            if pair.beyond.value < 0
            else "only together do they cost this: either of them is enough"
        )
        out.print(f"{' and '.join(pair.factors)}: {pair.beyond.value:+.2f} ± {pair.beyond.margin:.2f}; {how}")
    if found.interacts and not certain_pairs:
        out.print(
            f"All at once: {found.beyond.value:+.2f} ± {found.beyond.margin:.2f} beyond the sum; no pair alone does it"
        )


def _remark(effect: Effect) -> str:
    if effect.peaks is not None:
        return f"two-peaked: {effect.peaks[0]:.1f} or {effect.peaks[1]:.1f}"
    if effect.bends:
        return f"not linear: {effect.bend.value:+.2f} for the shorter delay"
    if effect.is_none:
        return "no effect"
    return "" if effect.is_certain else "not certain"


def as_json(profile: Profile) -> dict[str, Any]:
    """The document of `shaper causal --json`; all effects are ms, or the measure's unit, per ms."""
    about = {key: value for key, value in profile.results.about.items() if key not in ("factors", "classes")}
    return {
        "v": VERSION,
        **about,
        "classes": list(profile.results.about["factors"]),
        "trials": len(profile.results.of),
        "doubtful": profile.results.doubtful(),
        "measures": [
            {
                "name": found.name,
                "unit": found.unit,
                "undisturbed": found.undisturbed,
                "effects": [
                    {
                        "class": effect.factor, **_estimate(effect.slope), "p": effect.p, "certain": effect.is_certain,
                        "none": effect.is_none, "bend": _estimate(effect.bend), "bends": effect.bends,
                        "peaks": effect.peaks and list(effect.peaks), "predicted": effect.predicted,
                    }
                    for effect in found.effects
                ],
                "together": _estimate(found.together),
                "beyond_sum": {**_estimate(found.beyond), "certain": found.interacts},
                "pairs": [
                    {"classes": list(pair.factors), **_estimate(pair.beyond), "p": pair.p, "certain": pair.is_certain}
                    for pair in found.pairs
                ],
            }
            for found in profile.measures
        ],
    }  # fmt: skip


def _estimate(estimate: Estimate) -> dict[str, float | None]:
    return {"value": estimate.value, "margin": estimate.margin if estimate.margin < inf else None}
