"""The statistics against tables and against numbers that were made by known rules."""

from math import inf
from random import Random

import pytest

from shaper.experiment.statistics import (
    Knee,
    holm,
    knee,
    least_squares,
    line,
    mean,
    middle,
    peaks,
    t_outside,
    t_quantile,
    trimmed,
)


# The table of Student's t in NIST's e-Handbook of Statistical Methods, 1.3.6.7.2.
@pytest.mark.parametrize(
    ("level", "freedom", "quantile"),
    [(0.95, 1, 12.706), (0.95, 2, 4.303), (0.95, 10, 2.228), (0.95, 100, 1.984), (0.99, 5, 4.032), (0.8, 30, 1.310)],
)
def test_quantiles_of_t(level: float, freedom: int, quantile: float) -> None:
    assert t_quantile(level, freedom) == pytest.approx(quantile, abs=6e-4)
    assert t_outside(quantile, freedom) == pytest.approx(1 - level, abs=2e-4)


def test_t_at_its_ends() -> None:
    assert t_outside(0, 7) == 1
    assert t_outside(1e9, 3) < 1e-20


def test_mean() -> None:
    found = mean([9.0, 10.0, 11.0])
    assert found.value == 10
    assert found.margin == pytest.approx(4.303 / 3**0.5, abs=1e-3)
    assert (found.low, found.high) == (10 - found.margin, 10 + found.margin)
    assert mean([5.0]).margin == inf
    assert mean([2.0, 2.0])[:] == (2.0, 0.0, 0.0)


def test_intervals_contain_the_truth_as_often_as_they_say() -> None:
    chance = Random(1)
    hits = 0
    for _ in range(2000):
        found = mean([chance.gauss(3, 2) for _ in range(6)])
        hits += found.low <= 3 <= found.high
    assert hits / 2000 == pytest.approx(0.95, abs=0.015)


def test_intervals_of_slopes_contain_the_truth_as_often_as_they_say() -> None:
    chance = Random(2)
    hits = 0
    for _ in range(1000):
        found = line([(x, 1 + 3 * x + chance.gauss(0, 2)) for x in range(10)])
        assert found is not None
        hits += found.low <= 3 <= found.high
    assert hits / 1000 == pytest.approx(0.95, abs=0.02)


def test_medians() -> None:
    assert middle([3.0, 1.0, 2.0]) == (2, 1, 3)
    assert middle([float(n) for n in range(1, 6)]) == (3, 1, 5)
    # Conover, "Practical Nonparametric Statistics": of 10 values, from the second to the ninth.
    assert middle([float(n) for n in range(1, 11)]) == (5.5, 2, 9)


def test_a_trimmed_mean() -> None:
    assert trimmed([1.0, 2.0, 3.0, 4.0, 500.0]).value == 3
    assert trimmed([1.0, 3.0]) == mean([1.0, 3.0])
    chance = Random(5)
    hits = 0
    for _ in range(2000):
        found = trimmed([chance.gauss(3, 2) for _ in range(10)])
        hits += found.low <= 3 <= found.high
    assert hits / 2000 == pytest.approx(0.95, abs=0.015)


def test_two_peaks() -> None:
    chance = Random(6)
    assert peaks([0, 0.01, 1, 0.02, 1.01, 0.99], 0.3) == pytest.approx((0.01, 1))
    assert peaks([0, 0.01, 1, 0.02, 0.01, 0.0], 0.3) is None
    assert sum(peaks([chance.gauss(0, 1) for _ in range(10)], 0.3) is not None for _ in range(500)) < 5


def test_a_line() -> None:
    found = line([(0, 1), (1, 4), (2, 7), (3, 10)])
    assert found is not None
    assert found == pytest.approx((3, 3, 3, 1))
    assert line([(1, 1), (1, 2), (1, 3)]) is None
    assert line([(1, 1), (2, 2)]) is None


def test_a_line_is_not_moved_by_a_few_disturbed_trials() -> None:
    points = [(float(x), 2.0 * x) for x in range(10) for _ in range(3)]
    found = line([*points, (9, 500), (8, 300), (0, 80)])
    assert found is not None
    assert found.slope == 2


def bent(spread: float) -> list[tuple[float, float]]:
    chance = Random(3)
    return [(x, 5 + 2 * max(0, x - 4) + chance.gauss(0, spread)) for x in range(10) for _ in range(3)]


def test_a_knee() -> None:
    found = knee(bent(0.3))
    assert found is not None
    assert found.at == 4
    assert (found.before, found.after) == pytest.approx((0, 2), abs=0.2)
    assert knee(bent(0)) == pytest.approx(Knee(4, 0, 2), abs=1e-9)


def test_no_knee_in_straight_lines_or_noise() -> None:
    chance = Random(4)
    for _ in range(200):
        assert knee([(x, 3 * x + chance.gauss(0, 1)) for x in range(8) for _ in range(3)]) is None
    assert knee([(x, 3.0 * x) for x in range(8)]) is None


def test_least_squares() -> None:
    assert least_squares([(1, 0), (1, 1), (1, 2)], [1, 3, 5]) == pytest.approx([1, 2])
    assert least_squares([(1, 1), (2, 2)], [1, 2]) is None


def test_holm() -> None:
    """The example of four tests in Holm's correction, with 0.01, 0.02, 0.03 and 0.005."""
    corrected = holm({"a": 0.01, "b": 0.02, "c": 0.03, "d": 0.005})
    assert corrected == pytest.approx({"d": 0.02, "a": 0.03, "b": 0.04, "c": 0.04})
