"""Chance is netem's: the tables are tc's, the correlation is get_crandom's."""

from pathlib import Path
from random import Random
from statistics import correlation, fmean, pstdev, variance

import pytest

from shaper import UNIFORM, Chance, ms
from shaper.policy.chance import TABLES, parse_distribution, read_distribution

# From iproute2's generated tables: how many entries, their sum, some of them.
KNOWN = {
    "normal": (4096, -26163, {0: -32768, 1: -28307, 2048: 0, 4095: 28858}),
    "pareto": (4096, -1123786, {0: -5461, 1: -5460, 4095: 32767}),
    "paretonormal": (4096, -848968, {0: -12305, 1: -11171, 4095: 31789}),
}


@pytest.fixture(autouse=True)
def _computed_anew() -> None:
    """Each test computes the tables itself, whichever test ran before."""
    for table in TABLES.values():
        table.cache_clear()


@pytest.mark.parametrize("name", TABLES)
def test_tables_are_those_of_iproute2(name: str) -> None:
    table = parse_distribution(name).table
    entries, total, some = KNOWN[name]
    assert (len(table), sum(table)) == (entries, total)
    assert {index: table[index] for index in some} == some


def test_uniform_values_lie_within_the_deviation() -> None:
    chance = Chance(Random(1))
    values = [UNIFORM.draw(100 * ms, 10 * ms, chance) for _ in range(100_000)]
    assert 90 * ms <= min(values) < 90.01 * ms
    assert 109.99 * ms < max(values) < 110 * ms
    # Standard error of the mean: 10 ms / sqrt(3) / sqrt(100 000) = 0.018 ms; five of these.
    assert abs(fmean(values) - 100 * ms) < 0.1 * ms


@pytest.mark.parametrize("name", TABLES)
def test_other_values_have_the_table_s_spread(name: str) -> None:
    distribution, chance = parse_distribution(name), Chance(Random(1))
    values = [distribution.draw(0, 10 * ms, chance) for _ in range(100_000)]
    mean, deviation = fmean(distribution.table) / 8192, pstdev(distribution.table) / 8192
    assert abs(fmean(values) / (10 * ms) - mean) < 5 * deviation / 100_000**0.5
    assert pstdev(values) / (10 * ms) == pytest.approx(deviation, rel=0.03)


@pytest.mark.parametrize("rho", [0.0, 0.25, 0.5, 0.9])
def test_correlation_is_what_was_asked_for(rho: float) -> None:
    chance = Chance(Random(2), rho)
    numbers = [chance.next() for _ in range(100_000)]
    assert correlation(numbers[:-1], numbers[1:]) == pytest.approx(rho, abs=0.02)
    assert fmean(numbers) == pytest.approx(0.5, abs=0.02)
    # A first-order autoregression of uniform numbers has this variance: it shrinks, as netem's does.
    assert variance(numbers) == pytest.approx((1 - rho) ** 2 / (1 - rho**2) / 12, rel=0.05)


def test_correlated_delays_stay_correlated() -> None:
    chance = Chance(Random(3), 0.8)
    values = [parse_distribution("normal").draw(0, 10 * ms, chance) for _ in range(50_000)]
    assert correlation(values[:-1], values[1:]) > 0.75


def test_what_never_and_what_always_happens() -> None:
    chance = Chance(Random(4), 0.5)
    assert not any(chance.happens(0.0) for _ in range(1000))
    assert all(chance.happens(1.0) for _ in range(1000))


def test_a_table_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "two.dist"
    file.write_text("# two values\n 8192 -8192\n")
    distribution = parse_distribution(str(file))
    assert distribution.table == (-8192, 8192)
    values = {distribution.draw(100, 10, Chance(Random(seed))) for seed in range(20)}
    assert values == {90, 110}


@pytest.mark.parametrize("text", ["", "1 two 3", "40000", "1 " * 16385])
def test_a_bad_table(tmp_path: Path, text: str) -> None:
    file = tmp_path / "bad.dist"
    file.write_text(text)
    with pytest.raises(ValueError, match=r"bad\.dist"):
        read_distribution(file)


def test_a_table_that_is_not_there() -> None:
    with pytest.raises(ValueError, match="can't read"):
        parse_distribution("missing.dist")
    with pytest.raises(ValueError, match="none of uniform, normal"):
        parse_distribution("gaussian")


def test_a_table_may_have_any_number_of_entries_and_any_value_that_netem_takes(tmp_path: Path) -> None:
    file = tmp_path / "any.dist"
    for words, table in (("5", (5,)), ("32767 -32768", (-32768, 32767)), ("1 " * 16384, (1,) * 16384)):
        file.write_text(words)
        assert read_distribution(file) == (str(file), table)
    for words in ("-32769", "32768"):
        file.write_text(words)
        with pytest.raises(ValueError, match="from -32768 to 32767"):
            read_distribution(file)


def test_an_unknown_distribution_is_answered_with_those_there_are() -> None:
    with pytest.raises(ValueError, match="is none of uniform, normal, pareto, paretonormal, nor a file"):
        parse_distribution("gaussian")


def test_without_correlation_each_number_is_a_draw_of_its_own() -> None:
    chance, random = Chance(Random(5)), Random(5)
    assert [chance.next() for _ in range(10)] == [random.random() for _ in range(10)]
