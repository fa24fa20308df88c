"""The statistics of experiments: intervals, lines, knees, and corrections for many questions.

docs/experiments.md explains them on one page. The sources: Student's t as in any textbook, for example Montgomery,
"Design and Analysis of Experiments"; Sen, "Estimates of the regression coefficient based on Kendall's tau", Journal of
the American Statistical Association 63 (1968); Holm, "A simple sequentially rejective multiple test procedure",
Scandinavian Journal of Statistics 6 (1979).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import combinations
from math import comb, exp, inf, lgamma, log, sqrt
from statistics import NormalDist, fmean, median
from typing import NamedTuple

LEVEL = 0.95
"""Of all intervals."""


class Estimate(NamedTuple):
    """A value and its interval: it lies between `value - margin` and `value + margin`.

    Attributes:
        p: how probable so large a value would be if the true one were 0.
    """

    value: float
    margin: float
    p: float = 1.0

    @property
    def low(self) -> float:
        """The lower end of the interval."""
        return self.value - self.margin

    @property
    def high(self) -> float:
        """The upper end of the interval."""
        return self.value + self.margin


class Line(NamedTuple):
    """A straight line through points.

    Attributes:
        slope: the most likely one.
        low, high: its interval.
        at_zero: the line's height at 0.
    """

    slope: float
    low: float
    high: float
    at_zero: float

    @property
    def margin(self) -> float:
        """How far the interval reaches from the slope, to the further side."""
        return max(self.slope - self.low, self.high - self.slope)


class Knee(NamedTuple):
    """Where a line bends.

    Attributes:
        at: the place.
        before, after: the slopes on both sides.
    """

    at: float
    before: float
    after: float


def mean(values: Sequence[float], level: float = LEVEL) -> Estimate:
    """The mean with its interval by Student's t; the interval is infinite for fewer than two values."""
    count = len(values)
    if count < 2:
        return Estimate(values[0] if values else 0.0, inf)
    centre = fmean(values)
    error = sqrt(sum((value - centre) ** 2 for value in values) / (count - 1) / count)
    return _estimate(centre, error, count - 1, level)


def trimmed(values: Sequence[float], level: float = LEVEL) -> Estimate:
    """The mean without the lowest and the highest fifth, with its interval (Tukey and McLaughlin 1963, Yuen 1974).

    Fewer than five values are all taken. The interval is infinite for fewer than two values.
    """
    ordered, count = sorted(values), len(values)
    cut = count // 5
    if not cut:
        return mean(values, level)
    kept = ordered[cut : count - cut]
    pulled_in = [min(max(value, kept[0]), kept[-1]) for value in ordered]
    centre = fmean(pulled_in)
    spread = sqrt(sum((value - centre) ** 2 for value in pulled_in) / (count - 1))
    return _estimate(fmean(kept), spread / (len(kept) / count) / sqrt(count), len(kept) - 1, level)


def peaks(values: Sequence[float], apart: float) -> tuple[float, float] | None:
    """The means of two groups that the values fall into, if they do so clearly.

    Each group has at least a fifth of the values, and two of them. They are `apart` at least, and the gap between them
    is wider than three times what is within either.
    """
    ordered = sorted(values)
    least = max(2, len(ordered) // 5)
    for at in range(least, len(ordered) - least + 1):
        low, high = ordered[:at], ordered[at:]
        gap = high[0] - low[-1]
        if gap > apart and gap > 3 * max(low[-1] - low[0], high[-1] - high[0]):
            return fmean(low), fmean(high)
    return None


def middle(values: Sequence[float], level: float = LEVEL) -> tuple[float, float, float]:
    """The median and its interval, by the order of the values; that of fewer than six is their whole range.

    The interval from the k-th smallest to the k-th largest misses the true median with the probability that fewer than
    k of n values lie on one side of it, as of n coins fewer than k show heads.
    """
    ordered, count = sorted(values), len(values)
    beyond, k = 0.0, 0
    while k < count // 2 and 2 * (beyond + comb(count, k) / 2**count) <= 1 - level:
        beyond += comb(count, k) / 2**count
        k += 1
    k = max(k, 1)
    return median(ordered), ordered[k - 1], ordered[-k]


def line(points: Sequence[tuple[float, float]], level: float = LEVEL) -> Line | None:
    """The line whose slope is the median of the slopes between all pairs of points (Theil and Sen).

    A few trials that a busy machine has disturbed hardly change it, as they would change a line of least squares. The
    interval is that of Sen (1968), from the distribution of Kendall's tau.

    Returns:
        None for points of fewer than two places, or fewer than three points.
    """
    count = len(points)
    if count < 3 or len({x for x, _ in points}) < 2:
        return None
    slopes = sorted((b[1] - a[1]) / (b[0] - a[0]) for a, b in combinations(points, 2) if a[0] != b[0])
    ties = Counter(x for x, _ in points).values()
    variance = (count * (count - 1) * (2 * count + 5) - sum(t * (t - 1) * (2 * t + 5) for t in ties)) / 18
    reach = NormalDist().inv_cdf((1 + level) / 2) * sqrt(variance)
    low = max(0, round((len(slopes) - reach) / 2) - 1)
    high = min(len(slopes) - 1, round((len(slopes) + reach) / 2))
    slope = median(slopes)
    return Line(slope, slopes[low], slopes[high], median(y - slope * x for x, y in points))


def knee(points: Sequence[tuple[float, float]]) -> Knee | None:
    """Where the points' line bends, if two lines that meet fit them much better than one does.

    Each place in between is tried, at least two places from either end. It counts if the bend is worth its two numbers
    by Schwarz's criterion (BIC), with a margin of 10, which is called very strong (Kass and Raftery 1995), and if the
    slope changes by more than a tenth of the larger one.
    """
    places, count = sorted({x for x, _ in points}), len(points)
    if len(places) < 5:
        return None
    best: tuple[float, Knee] | None = None
    for at in places[2:-2]:
        fitted = least_squares([(1.0, min(x - at, 0.0), max(x - at, 0.0)) for x, _ in points], [y for _, y in points])
        if fitted is None:
            continue
        height, before, after = fitted
        rest = sum((y - height - before * min(x - at, 0) - after * max(x - at, 0)) ** 2 for x, y in points)
        if best is None or rest < best[0]:
            best = rest, Knee(at, before, after)
    straight = least_squares([(1.0, x) for x, _ in points], [y for _, y in points])
    if best is None or straight is None:
        return None
    exact = 1e-18 * sum(y * y for _, y in points)  # what rounding leaves of nothing
    whole = sum((y - straight[0] - straight[1] * x) ** 2 for x, y in points)
    rest, found = best
    gain = count * log((whole + exact) / (rest + exact)) - 2 * log(count) if exact else 0
    bends = abs(found.after - found.before) > 0.1 * max(abs(found.after), abs(found.before))
    return found if gain > 10 and bends else None


def least_squares(rows: Sequence[Sequence[float]], values: Sequence[float]) -> list[float] | None:
    """The coefficients of the columns that fit the values best; None if the columns don't determine them."""
    size = len(rows[0])
    table = [
        [sum(row[i] * row[j] for row in rows) for j in range(size)]
        + [sum(row[i] * value for row, value in zip(rows, values, strict=True))]
        for i in range(size)
    ]
    for i in range(size):
        pivot = max(range(i, size), key=lambda row: abs(table[row][i]))
        table[i], table[pivot] = table[pivot], table[i]
        if abs(table[i][i]) < 1e-12:
            return None
        for row in range(size):
            if row != i:
                factor = table[row][i] / table[i][i]
                table[row] = [a - factor * b for a, b in zip(table[row], table[i], strict=True)]
    return [table[i][size] / table[i][i] for i in range(size)]


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """The probabilities of several questions, corrected so that all answers together err with the level's share."""
    ordered = sorted(p_values, key=lambda name: p_values[name])
    corrected, before = {}, 0.0
    for place, name in enumerate(ordered):
        before = corrected[name] = max(before, min(1.0, (len(ordered) - place) * p_values[name]))
    return corrected


def _estimate(value: float, error: float, freedom: int, level: float) -> Estimate:
    if not error:
        return Estimate(value, 0.0, 0.0 if value else 1.0)
    return Estimate(value, t_quantile(level, freedom) * error, t_outside(abs(value / error), freedom))


@cache
def t_quantile(level: float, freedom: int) -> float:
    """How many standard errors an interval of this level reaches to both sides, by Student's t."""
    low, high = 0.0, 1.0
    while t_outside(high, freedom) > 1 - level:
        high *= 2
    for _ in range(60):
        between = (low + high) / 2
        low, high = (between, high) if t_outside(between, freedom) > 1 - level else (low, between)
    return (low + high) / 2


def t_outside(t: float, freedom: int) -> float:
    """How probable it is that a value of Student's t is further from 0 than this."""
    return _beta(freedom / 2, 0.5, freedom / (freedom + t * t))


def _beta(a: float, b: float, x: float) -> float:
    """The regularised incomplete beta function, by its continued fraction (DLMF 8.17.22)."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):
        return 1 - _beta(b, a, 1 - x)
    front = exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(x) + b * log(1 - x)) / a
    # Lentz's method.
    c, d = 1.0, 1 - (a + b) * x / (a + 1)
    d = 1 / d
    value = d
    for m in range(1, 300):
        for factor in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 / (1 + factor * d)
            c = 1 + factor / c
            value *= c * d
        if abs(c * d - 1) < 1e-14:
            break
    return front * value
