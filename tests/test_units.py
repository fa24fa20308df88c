"""Durations, rates, sizes and shares, as tc(8) spells them."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shaper import units
from shaper.units import Limit, ms, s, us

DURATIONS = {
    "0": 0, "1ns": 1, "3nsec": 3, "4nsecs": 4, "1us": us, "5usec": 5 * us, "6usecs": 6 * us, "1µs": us,
    "100ms": 100 * ms, "2msec": 2 * ms, "2msecs": 2 * ms, "1.5s": 1_500 * ms, "1sec": s, "2secs": 2 * s,
    "0.25ms": 250 * us, " 20 ms ": 20 * ms, "20MS": 20 * ms, "2min": 120 * s, ".5us": 500,
}  # fmt: skip
RATES = {
    "0": 0, "9600bit": 9600, "64kbit": 64_000, "10mbit": 10_000_000, "1gbit": 10**9, "1tbit": 10**12,
    "1Kibit": 1024, "1Mibit": 2**20, "1Gibit": 2**30, "1Tibit": 2**40, "1.5Mbit": 1_500_000,
    "100bps": 800, "1kbps": 8_000, "1Mbps": 8_000_000, "1gbps": 8 * 10**9, "1tbps": 8 * 10**12,
    "1KiBps": 8 * 1024, "1MiBps": 8 * 2**20, "1GiBps": 8 * 2**30, "1TiBps": 8 * 2**40,
}  # fmt: skip
SIZES = {
    "1500": 1500, "1500b": 1500, "64k": 65536, "64kb": 65536, "1m": 2**20, "1mb": 2**20, "1g": 2**30, "2Gb": 2**31,
    "8kbit": 1024, "8mbit": 2**20, "8gbit": 2**30, "0.5kb": 512,
}  # fmt: skip
SHARES = {"0": 0.0, "0%": 0.0, "5%": 0.05, "0.1%": 0.001, "100%": 1.0, "50 %": 0.5}
LIMITS = {
    "none": Limit(), "1000": Limit(packets=1000), "7p": Limit(packets=7), "1 packet": Limit(packets=1),
    "64kb": Limit(bytes=65536), "1500b": Limit(bytes=1500), "0.5kb": Limit(bytes=512),
}  # fmt: skip

GOOD = [
    *((units.parse_duration, text, value) for text, value in DURATIONS.items()),
    *((units.parse_rate, text, value) for text, value in RATES.items()),
    *((units.parse_size, text, value) for text, value in SIZES.items()),
    *((units.parse_share, text, value) for text, value in SHARES.items()),
    *((units.parse_limit, text, value) for text, value in LIMITS.items()),
]
PARSERS = [units.parse_duration, units.parse_rate, units.parse_size, units.parse_share, units.parse_limit]


@pytest.mark.parametrize(("parse", "text", "value"), GOOD)
def test_reads_the_spellings_of_tc(parse: Callable[[str], Any], text: str, value: object) -> None:
    assert parse(text) == value


@pytest.mark.parametrize(
    ("parse", "text", "message"),
    [
        (units.parse_duration, "20", "needs a unit of time, such as 20ms"),
        (units.parse_duration, "20parsecs", "needs a unit"),
        (units.parse_duration, "ms", "does not start with a number"),
        (units.parse_duration, "-5ms", "negative"),
        (units.parse_duration, "0.5ns", "not a whole number of nanoseconds"),
        (units.parse_duration, "1e400000000s", "out of range"),
        (units.parse_duration, "", "does not start with a number"),
        (units.parse_rate, "10ms", "not a rate"),
        (units.parse_rate, "-1mbit", "negative"),
        (units.parse_size, "10ms", "not a size"),
        (units.parse_size, "0.5b", "not a whole number of bytes"),
        (units.parse_share, "5", "needs a percent sign"),
        (units.parse_share, "101%", "not from 0% to 100%"),
        (units.parse_share, "-1%", "not from 0% to 100%"),
        (units.parse_limit, "0", "below one packet"),
        (units.parse_limit, "1.5", "not a whole number of packets"),
        (units.parse_numbers, "1-x", "not a number or a range"),
        (units.parse_range, "5-3", "ends before it begins; write 3-5"),
        (units.parse_range, "\u00b2", "not a number or a range"),
    ],
)
def test_says_what_is_wrong(parse: Callable[[str], Any], text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        parse(text)
    assert f"'{text}'" in str(caught.value)


@pytest.mark.parametrize("parse", PARSERS)
@given(text=st.one_of(st.text(), st.from_regex(r"-?[0-9.e_+]{1,12} ?[a-zµ%]{0,5}", fullmatch=True)))
def test_nothing_but_a_value_error_comes_of_bad_text(parse: Callable[[str], Any], text: str) -> None:
    with suppress(ValueError):
        assert parse(text) is not None


@given(st.integers(0, 10**19))
def test_durations_and_rates_come_back(value: int) -> None:
    assert units.parse_duration(units.format_duration(min(value, 2**62))) == min(value, 2**62)
    assert units.parse_rate(units.format_rate(min(value, 2**62))) == min(value, 2**62)


@given(st.integers(0, 2**60))
def test_sizes_come_back(value: int) -> None:
    assert units.parse_size(units.format_size(value)) == value


@given(
    st.one_of(st.just(Limit()), st.integers(1, 2**40).map(Limit), st.integers(1, 2**40).map(lambda n: Limit(None, n)))
)
def test_limits_come_back(value: Limit) -> None:
    assert units.parse_limit(units.format_limit(value)) == value


@given(st.integers(0, 100_000))
def test_shares_come_back(thousandths: int) -> None:
    share = float(thousandths) / 100_000
    assert units.parse_share(units.format_share(share)) == pytest.approx(share, rel=1e-9)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (1, "1ns"), (1_500, "1.5us"), (20 * ms, "20ms"), (s, "1s"), (90 * s, "90s"), (1_000_001, "1.000001ms")],
)
def test_durations_are_written_in_the_shortest_exact_way(value: int, text: str) -> None:
    assert units.format_duration(value) == text


def test_a_range_of_numbers_takes_no_memory() -> None:
    numbers = units.parse_numbers("7+1-9999999999")
    assert (1 in numbers, 9_999_999_999 in numbers) == (True, True)
    assert (0 in numbers, 10**10 in numbers) == (False, False)
    assert len(numbers) == 9_999_999_999
    assert units.format_numbers(numbers) == "1-9999999999"


@given(st.sets(st.integers(1, 30)))
def test_numbers_come_back(value: set[int]) -> None:
    numbers = units.parse_numbers(units.format_numbers(value))
    assert (set(numbers), len(numbers), bool(numbers)) == (value, len(value), bool(value))
    assert {number for number in range(40) if number in numbers} == value
    again = units.parse_numbers("+".join(map(str, value)) or "none")
    assert (again, hash(again)) == (numbers, hash(numbers))
    assert numbers != value


def test_numbers_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "numbers"
    file.write_text("3\n10-12\n")
    assert units.format_numbers(units.parse_numbers(str(file))) == "3+10-12"
