"""netem lines as people write them, and what tc makes of each of them.

data/netem_lines.tsv has one line from a manual, an article, a script or a test of the kernel in each
row, then a tab, then what tc of iproute2 6.1 sends to the kernel for it (RTM_NEWQDISC, written out), or
"refused" and tc's reason. The rows that begin with "qdisc netem" are what `tc qdisc show` wrote in a guest
with kernel 6.1, after the line of the same numbers; those that it rounds are left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import pytest

from shaper.spec.load import load_pipeline, split_options
from shaper.spec.netem import HEADER, NetemError, translate
from shaper.units import parse_duration, parse_rate, s, us

ROWS = [row.split("\t") for row in (Path(__file__).parent / "data/netem_lines.tsv").read_text().splitlines()]
NAMES = {
    ("delay", "time"): "delay",
    ("loss", "probability"): "loss",
    ("loss", "correlation"): "loss_correlation",
    ("delay", "correlation"): "delay_correlation",
    ("duplicate", "probability"): "duplicate",
    ("duplicate", "correlation"): "duplicate_correlation",
    ("corrupt", "probability"): "corrupt",
    ("corrupt", "correlation"): "corrupt_correlation",
    ("delay", "reorder_gap"): "gap",
    ("delay", "distribution"): "delay_table",
    ("slot", "distribution"): "slot_table",
    ("slot", "min_delay"): "slot_min",
    ("slot", "max_delay"): "slot_max",
    ("slot", "delay"): "slot_delay",
    ("slot", "jitter"): "slot_jitter",
    ("slot", "packets"): "slot_packets",
    ("slot", "bytes"): "slot_bytes",
}
OURS = ("scope", "order", "model")


def number(text: str) -> Fraction | str:
    """A value of ours or of tc's: times in ns, rates in bit/s, shares in percent; a word as it is."""
    if text == "yes":
        return Fraction(1)
    if not text.lstrip("-")[:1].isdigit():
        return text
    for unit, parse in (("%", None), ("bit", parse_rate), ("s", parse_duration)):
        if text.endswith(unit):
            return Fraction(text[:-1]) if parse is None else Fraction(parse(text))
    return Fraction(text)


def numbers(specs: list[str]) -> Iterator[tuple[str, Fraction | str]]:
    """The numbers of a pipeline, named as in the table; without those that are 0, as in the table."""
    for spec in specs:
        head, _, options = spec.partition(":")
        stage = dict(split_options(options, None, head))
        if head == "slot":
            stage.setdefault("max_delay", stage.get("min_delay", "0"))
            stage.pop("overhead", None)
        for name, text in stage.items():
            value = number(text)
            if name == "overhead":
                assert isinstance(value, Fraction)
                value -= HEADER
            if value and name not in OURS:
                yield NAMES.get((head, name), name), value


def table(text: str) -> dict[str, Fraction | str]:
    """The numbers in a row of the table, without those that are 0."""
    values = ((name, number(value)) for name, value in (word.split("=") for word in text.split()))
    return {name: value for name, value in values if value}


TOLERANCES = {
    # tc cuts delays to microseconds, and makes them ticks of 64 ns; shares are in 2**32 parts.
    "delay": us,
    "jitter": us,
    "rate": 8,
}
SHARE = Fraction(1, 10**6)


@pytest.mark.parametrize(("line", "meaning"), ROWS)
def test_a_line_means_what_tc_makes_of_it(line: str, meaning: str) -> None:
    if meaning.startswith("refused"):
        with pytest.raises(NetemError) as error:
            translate(line)
        assert "\n" not in str(error.value)
        return
    specs = translate(line)
    found, expected = dict(numbers(specs)), table(meaning)
    for values in (found, expected):
        if values.get("gap") == 1:
            del values["gap"]  # tc's default
    if "limit" not in found and not {"delay", "rate", "slot"} & {spec.partition(":")[0] for spec in specs}:
        del expected["limit"]  # nothing holds packets
    assert sorted(found) == sorted(expected)
    for name, value in expected.items():
        ours = found[name]
        if name.endswith("_table"):
            assert isinstance(ours, str)
        else:
            assert isinstance(ours, Fraction)
            assert isinstance(value, Fraction)
            assert abs(ours - value) <= TOLERANCES.get(name, SHARE), name
    assert len(load_pipeline(specs, max_hold=100 * s)) == len(specs)


def test_the_table_is_large_enough() -> None:
    assert len({line for line, _ in ROWS}) == len(ROWS) >= 150
