"""Profile: what the trials of a causal profile say, with intervals, corrected for the number of questions."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from math import inf
from statistics import fmean
from typing import TYPE_CHECKING, Any

from shaper.experiment import statistics
from shaper.experiment.effects import NEGLIGIBLE, Effect, Measured, Pair
from shaper.experiment.measures import DURATION, TRAFFIC
from shaper.experiment.results import Results
from shaper.experiment.statistics import Estimate
from shaper.report.table import Cell, table

if TYPE_CHECKING:
    from rich.console import Console

VERSION = 1
MOST_BLOCKS = 40
"""Of trials in which one class is late; the blocks of pairs begin with this number."""
FIRST_CURVE = 60
"""The first block of trials with more delays."""
PREDICTION_BLOCK = -1
"""The block of the trials that have predictions only."""
PREDICTED = "predicted"
"""The unit of the numbers that are no measures: what the packets' holds say that a class should do."""


Arms = dict[tuple[float, ...], list[float]]
"""The values of a measure in a block, by how late (ms) each class was."""


def predicted_name(measure: str, factor: str) -> str:
    """The name under which the results keep a prediction."""
    return f"{measure} <- {factor}"


class Profile:
    """What a causal profile has found.

    Attributes:
        results: the trials.
        unpredicted: why nothing is predicted; empty if something is, or if the trials are of a file.
        measures: what was found for each measure.
    """

    def __init__(self, results: Results, unpredicted: str = "") -> None:
        self.results, self.unpredicted = results, unpredicted
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
            if found.name == DURATION
            or found.interacts
            or any(effect.is_certain or not effect.is_simple for effect in found.effects)
        ]

    def title(self) -> str:
        """What was run, in words."""
        about = self.results.about
        return str(about["workload"] or " ".join(about["command"]))

    def _measured(self, name: str) -> Measured:
        # A block that is not complete would compare trials of different conditions of the machine.
        blocks = [(block, arms) for block, arms in sorted(self._blocks(name).items()) if self._late() in arms]
        size = 3 + 2 * len(self._factors)
        first = [arms for block, arms in blocks if 0 <= block < MOST_BLOCKS and sum(map(len, arms.values())) >= size]
        second = [arms for block, arms in blocks if MOST_BLOCKS <= block < FIRST_CURVE]
        third = [arms for block, arms in blocks if block >= FIRST_CURVE]
        count, level = len(self._factors), 1 - (1 - statistics.LEVEL) / max(1, len(self._factors))
        # Of each block: the effects of the simple and of the double delay.
        once = [[self._difference(arms, self._late(1, each), 0) for each in range(count)] for arms in first]
        twice = [[self._difference(arms, self._late(2, each), 1) / 2 for each in range(count)] for arms in first]
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
                wide[at],
                p[factor],
                bends[at],
                bend_p[factor],
                statistics.peaks([values[at] for values in twice], 3 * NEGLIGIBLE),
                self._curve(at, [*first, *third]),
                self._predicted(name, factor),
            )
            for at, factor in enumerate(self._factors)
        ]
        all_late = (self._delay,) * count
        together = [self._effect(arms, all_late) for arms in first if all_late in arms]
        alone = [self._late(1, each) for each in range(count)]
        sums = [sum(self._effect(arms, arm) for arm in alone) for arms in first if all_late in arms]
        beyond = [whole - parts for whole, parts in zip(together, sums, strict=True)]
        undisturbed = [value for arms in first for value in arms[self._late()]]
        return Measured(
            name,
            self._units[name],
            statistics.middle(undisturbed)[0] if undisturbed else 0.0,
            effects,
            statistics.trimmed(together),
            statistics.trimmed(beyond),
            self._pairs(second, [effect.is_simple for effect in effects]),
        )

    def _blocks(self, name: str) -> dict[int, Arms]:
        """The values of a measure, by block and by how late each class was."""
        blocks: dict[int, Arms] = {}
        for result in self.results.of:
            measure = result.measures.get(name)
            # A call that was not made did not wait; another number that is missing is not known.
            if measure is not None or self._units[name] == "ms":
                arm = tuple(float(result.levels[factor]) for factor in self._factors)
                blocks.setdefault(result.block, {}).setdefault(arm, []).append(measure.value if measure else 0.0)
        return blocks

    def _late(self, times: int = 0, *which: int) -> tuple[float, ...]:
        return tuple(times * self._delay if each in which else 0.0 for each in range(len(self._factors)))

    def _effect(self, arms: Arms, arm: tuple[float, ...]) -> float:
        return (fmean(arms[arm]) - fmean(arms[self._late()])) / self._delay

    def _difference(self, arms: Arms, arm: tuple[float, ...], which: int) -> float:
        """The effect in comparison with one of the undisturbed trials.

        That some trials are disturbed by other load makes this no larger or smaller, on average; in comparison with the
        mean of two, which are disturbed more often than one, most differences would be too small.
        """
        undisturbed = arms[self._late()]
        return (arms[arm][0] - undisturbed[which % len(undisturbed)]) / self._delay

    def _curve(self, at: int, blocks: Sequence[Arms]) -> list[tuple[float, Estimate]]:
        """By how late the class is: what it costs."""
        costs: dict[float, list[float]] = {}
        for arms in blocks:
            for arm in arms:
                if arm[at] and not any(arm[:at] + arm[at + 1 :]):
                    costs.setdefault(arm[at], []).append(self._difference(arms, arm, 0) * self._delay)
        return [(late, statistics.trimmed(costs[late])) for late in sorted(costs)]

    def _predicted(self, name: str, factor: str) -> float | None:
        key = predicted_name(name, factor)
        found = [result.measures[key].value for result in self.results.of if key in result.measures]
        return statistics.middle(found)[0] if found else None

    def _pairs(self, blocks: Sequence[Arms], simple: Sequence[bool]) -> list[Pair]:
        found: dict[tuple[int, int], Estimate] = {}
        for one, other in combinations([at for at, is_simple in enumerate(simple) if is_simple], 2):
            both, alone = self._late(1, one, other), (self._late(1, one), self._late(1, other))
            beyond = [
                self._effect(arms, both) - sum(self._effect(arms, arm) for arm in alone)
                for arms in blocks
                if all(arm in arms for arm in (both, *alone))
            ]
            if beyond:
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
    blocks = len({result.block for result in profile.results.of if 0 <= result.block < MOST_BLOCKS})
    way = "others may overtake them" if about["order"] == "free" else "others wait behind them"
    out.print(f"{profile.title()}: {blocks} blocks of trials; packets {delay:g} or {2 * delay:g} ms late; {way}")
    for found in profile.shown:
        out.print()
        _show_measure(found, out)
    if profile.unpredicted:
        out.print(f"\nNo prediction: {profile.unpredicted}", markup=False)
    quiet = [found.name for found in profile.measures if found not in profile.shown]
    if quiet:
        out.print(f"\nNo packets matter for: {', '.join(quiet)}")
    profile.results.show_doubts(out)


def _show_measure(found: Measured, out: Console) -> None:
    certain = [effect for effect in found.effects if effect.is_certain or not effect.is_simple]
    unclear = [effect for effect in found.effects if effect not in certain and not effect.is_none]
    has_prediction = any(effect.predicted is not None for effect in found.effects)
    listed = [
        *sorted(certain, key=lambda effect: -round(effect.slope.value, 1)),
        *unclear,
        *(effect for effect in found.effects if effect.is_none and effect.differs),
    ]
    rows: list[list[Cell]] = [
        [
            effect.factor,
            # Of what is not linear, a mean would describe no trial.
            *((effect.slope.value, effect.slope.margin) if effect.is_simple else (None, None)),
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
    for effect in found.effects:
        if effect.differs:
            out.print(_difference(effect))
    _show_curves(found, out)
    certain_pairs = [pair for pair in found.pairs if pair.is_certain]
    for pair in certain_pairs:
        how = (
            "together they cost less than one after the other: they are waited for at the same time"
            if pair.beyond.value < 0
            else "only together do they cost this: either of them is enough"
        )
        out.print(f"{' and '.join(pair.factors)}: {pair.beyond.value:+.2f} ± {pair.beyond.margin:.2f}; {how}")
    if found.interacts and not certain_pairs and all(effect.is_simple for effect in found.effects):
        out.print(
            f"All at once: {found.beyond.value:+.2f} ± {found.beyond.margin:.2f} beyond the sum; no pair alone does it"
        )


def _show_curves(found: Measured, out: Console) -> None:
    """Print what packets that are not linear cost, by how late they are."""
    curved = [effect for effect in found.effects if not effect.is_simple]
    if not curved:
        return
    delays = sorted({late for effect in curved for late, _ in effect.curve})
    rows: list[list[Cell]] = []
    for effect in curved:
        costs = {late: cost.value for late, cost in effect.curve}
        rows.append([effect.factor, *(costs.get(late) for late in delays)])
    title = f"Not linear: {found.unit or 'how much'} longer, by how late the packets are (ms)"
    out.print()
    out.print(table(["late packets", *(f"{late:g}" for late in delays)], rows, title=title))
    for effect in curved:
        if effect.peaks is not None:
            low, high = (peak * delays[-1] for peak in effect.peaks)
            out.print(f"{effect.factor}, {delays[-1]:g} ms late: {low:+.1f} or {high:+.1f} {found.unit}")
        if (step := effect.step) is not None:
            start, end, rise = step
            out.print(f"{effect.factor}: a step of {rise:+.1f} {found.unit} between {start:g} and {end:g} ms late")


def _difference(effect: Effect) -> str:
    """The finding that a class does not do what was predicted."""
    assert effect.predicted is not None
    why = (
        "with all packets late, the program waits for it, but something else does instead, or takes as long"
        if effect.predicted > effect.slope.value
        else "with all packets late, something else takes as long"
    )
    return f"Not as predicted: {effect.factor}, {effect.slope.value:.2f} and not {effect.predicted:.2f}: {why}"


def _remark(effect: Effect) -> str:
    if effect.peaks is not None:
        return "two-peaked"
    if effect.bends:
        return "not linear"
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
        "unpredicted": profile.unpredicted,
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
                        "differs": effect.differs, "step": effect.step and list(effect.step),
                        "curve": [{"late_ms": late, **_estimate(cost)} for late, cost in effect.curve],
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
