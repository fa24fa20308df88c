"""How `shaper top` spells figures, and the rates it makes of counts."""

import pytest

from shaper.top import text
from shaper.top.watch import FLOWS, Moment, Watch
from tests.top.shaper import FakeShaper


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (None, "-"),
        (0, "0"),
        (1_234, "1,234"),
        (999_999, "999,999"),
        (1_000_000, "1.0 M"),
        (999_949_999, "999.9 M"),
        (999_950_000, "1.0 G"),
        (12_300_000_000_000, "12.3 T"),
    ],
)
def test_a_count_takes_seven_characters_at_most(number: int | None, said: str) -> None:
    assert text.count(number) == said
    assert len(said) <= 7


@pytest.mark.parametrize(
    ("rate", "said"), [(None, "-"), (0.0, "0"), (0.25, "0.2"), (9.96, "10.0"), (10.0, "10"), (12_345.6, "12,346")]
)
def test_a_slow_rate_has_a_digit_behind_the_point(rate: float | None, said: str) -> None:
    assert text.per_second(rate) == said


@pytest.mark.parametrize(
    ("micros", "said"),
    [(None, "-"), (14.2, "14 µs"), (9_999, "9,999 µs"), (10_000, "10.0 ms"), (1_500_000, "1.50 s")],
)
def test_a_lateness_has_its_unit(micros: float | None, said: str) -> None:
    assert text.micros(micros) == said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(-1, "0 s"), (13.9, "13 s"), (133, "2 min 13 s"), (3_600, "1 h 0 min"), (93_784, "1 d 2 h")],
)
def test_a_time_has_two_units(seconds: float, said: str) -> None:
    assert text.lasting(seconds) == said


def test_a_picture_shows_the_last_values_relative_to_the_highest() -> None:
    assert text.bars([9, 0, 4, 8], 3) == "▁▅█"
    assert text.bars([0, 0], 5) == "▁▁"
    assert text.bars([], 5) == text.bars([1], 0) == ""


def test_a_flow_is_cut_in_its_middle() -> None:
    flow = "[2001:db8::1]:50000 > [2001:db8::2]:443 tcp"
    assert text.cut_inside(flow, 21) == "[2001:db8:…2]:443 tcp"
    assert text.cut_inside(flow, len(flow)) == flow


def test_what_would_control_the_terminal_is_replaced() -> None:
    assert text.cut("a\x1b[2Jb\nc", 20) == "a\ufffd[2Jb c"


def test_a_number_of_bytes_has_its_unit() -> None:
    assert [text.size(number) for number in (345, 12_345, 3 * 10**15)] == ["345 B", "12.3 kB", "3000.0 TB"]


def moment(shaper: FakeShaper) -> Moment:
    return Moment(shaper.clock(), shaper.status(), shaper.pipeline(), shaper.flows())


def test_a_rate_is_that_of_the_last_two_seconds() -> None:
    shaper, watch = FakeShaper(), Watch()
    assert watch.rate("taken") is None
    watch.see(moment(shaper))
    assert watch.rate("taken") is None
    for _ in range(8):
        shaper.seconds += 0.5
        watch.see(moment(shaper))
    assert watch.rate("taken") == pytest.approx(12_345, abs=1)
    shaper.seconds += 100  # the shaper did not answer for a while
    watch.see(moment(shaper))
    assert watch.rate("taken") == pytest.approx(12_345, abs=1)


def test_the_rate_of_a_new_flow_counts_from_zero_unless_flows_were_left_out() -> None:
    shaper, watch = FakeShaper(), Watch()
    flows = shaper.flows()
    status = shaper.status()
    watch.see(Moment(0, status, [], []))
    watch.see(Moment(2, status, [], [{**flows[0], "packets": 10}]))
    assert watch.flow_rates() == [5]
    watch = Watch()
    watch.see(Moment(0, status, [], [{**flows[0], "flow": str(number)} for number in range(FLOWS)]))
    watch.see(Moment(2, status, [], [{**flows[0], "packets": 10}]))
    assert watch.flow_rates() == [None]


def test_another_run_with_the_same_name_begins_anew() -> None:
    shaper, watch = FakeShaper(), Watch()
    watch.see(moment(shaper))
    shaper.seconds += 1
    watch.see(moment(shaper))
    shaper.pid += 1
    watch.see(moment(shaper))
    assert watch.rate("taken") is None
    assert [len(values) for values in watch.past.values()] == [0, 1, 1]


def test_flows_are_sorted_by_what_is_asked_for() -> None:
    shaper, watch = FakeShaper(), Watch()
    watch.see(moment(shaper))
    shaper.seconds += 1
    watch.see(moment(shaper))
    held = [flow["held"] for flow, _ in text.sort(watch, "held")]
    rates = [rate for _, rate in text.sort(watch, "rate")]
    repeats = [flow["repeats"] for flow, _ in text.sort(watch, "repeats")]
    assert held == sorted(held, reverse=True)
    assert rates == sorted(rates, key=lambda rate: -(rate or 0))
    assert repeats == sorted(repeats, reverse=True)


@pytest.mark.parametrize("width", [80, 97, 120, 200])
def test_the_head_is_as_wide_as_the_screen(width: int) -> None:
    shaper, watch = FakeShaper(), Watch()
    shaper.bypassed = 12
    watch.see(moment(shaper))
    assert len(text.title(shaper.status(), "shaping", 100, width)) == width
    lines = [line.plain for line in text.figures(watch, width)]
    assert [len(line) for line in lines] == [width] * 3
    assert "bypassed      12!" in lines[2]
