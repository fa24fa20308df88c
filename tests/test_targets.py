"""`./dev bench --check`: what was not measured, or can't be right, is no target met."""

import math
import sys
from contextlib import nullcontext
from itertools import count
from typing import Any

import pytest

from bench import trial
from bench.__main__ import main
from bench.bulk import LO
from bench.compiled import BenchError
from bench.load import Load
from bench.memory import CAPTURED, COMPILED, replayed
from bench.plan import Found, interleave_conditions
from bench.subjects import MS, Subject
from bench.targets import DEFAULT, DELAY, FLOW, HARM, HELD_PACKET, MAIN, TRIAL, table
from bench.virtual_bulk import GUEST

LATE = {"p50": 20.0, "p99": 200.0, "p99.9": 300.0}
EARLIER = {"p50": 4.0, "p99": 100.0, "p99.9": 300.0}
BESIDE = {"p50": 20.0, "p99": 200.0}
MEASURED: dict[str, Any] = {
    "throughput": {
        MAIN: {
            "C accept loop": {"rate": 100_000.0, "cpu_us_at_60k": 5.0},
            "shaper pass_through": {"rate": 95_000.0},
            "C accept loop, batched verdicts": {"rate": 95_000.0},
            DELAY: {"rate": 120_000.0, "cpu_us_at_60k": 8.0},
            "NetfilterQueue + scapy": {"rate": 5_000.0},
        }
    },
    "punctuality": {
        f"10 ms hold, {rate} packets/s": {DEFAULT: EARLIER, "C hold 10 ms": LATE} for rate in (1_000, 20_000, 60_000)
    },
    "neighbour": {
        f"{rate} packets/s": {"shaper delay 10 ms, --realtime": BESIDE, "C hold 10 ms, SCHED_FIFO": BESIDE}
        for rate in (1_000, 20_000)
    },
    "latency": {"C accept loop": BESIDE, "shaper pass_through": BESIDE},
    "rest": {"shaper delay 10 ms": {"idle_percent": 0.1, "cpu_ms": 0.2}},
    "virtual": {
        "10 ms hold, 1000 packets/s": {DEFAULT: {"mean": 9.0, "lost": 0}, "no delay": {"mean": 4.0, "lost": 0}}
    },
    "bulk": {LO: {DELAY: {"mbit": 80.0}, "C hold 20 ms": {"mbit": 100.0}}},
    "virtual_bulk": {GUEST: {f"{DELAY} --gso": {"mbit": 95.0}, "netem": {"mbit": 100.0}}},
    "memory": {
        HELD_PACKET: {COMPILED: {"bytes": 250.0}},
        FLOW: {COMPILED: {"bytes": 500.0}},
        **{replayed(packets): {COMPILED: {"mb": 40.0}} for packets in CAPTURED},
    },
    "growth": {"packets held": {"60000": {"cpu_us": 7.0}, "100": {"cpu_us": 6.0}}},
    "control": {
        "20000 packets/s": {
            "watched": {"p50": 11.0, "p99": 70.0, "cpu_us": 10.1},
            "alone": {"p50": 10.0, "p99": 60.0, "cpu_us": 10.0},
        }
    },
    "changes": {end: dict.fromkeys(names, 0.0) for end, names in HARM.items()},
    "startup": {"shaper --help": {"seconds": 0.2, "heavy_imports": 0.0}},
    "trials": {TRIAL: {"seconds": 0.05}},
}


def leaves(figures: dict[str, Any], *path: str) -> list[tuple[str, ...]]:
    """The paths of all figures."""
    found = []
    for key, value in figures.items():
        found += leaves(value, *path, key) if isinstance(value, dict) else [(*path, key)]
    return found


def changed(figures: dict[str, Any], path: tuple[str, ...], value: float | None) -> dict[str, Any]:
    """The figures with another value at this path; without any, if it is None."""
    key, *rest = path
    if rest:
        return {**figures, key: changed(figures[key], tuple(rest), value)}
    others = {name: each for name, each in figures.items() if name != key}
    return others if value is None else {**others, key: value}


def test_all_targets_are_met() -> None:
    assert table(MEASURED)[1]
    assert not table({})[1]


@pytest.mark.parametrize("path", leaves(MEASURED), ids="/".join)
@pytest.mark.parametrize("value", [None, math.nan, 0.0, -1.0])
def test_a_figure_that_is_missing_or_impossible_misses_its_target(path: tuple[str, ...], value: float | None) -> None:
    is_count = (path[0] == "changes" or path[-1] in ("lost", "heavy_imports")) and value == 0
    is_less_to_take_away = path[-2] == "no delay" and path[-1] == "mean" and value in (0.0, -1.0)
    assert table(changed(MEASURED, path, value))[1] == (is_count or is_less_to_take_away)


def test_losses_in_the_guest_miss_the_target() -> None:
    path = ("virtual", "10 ms hold, 1000 packets/s", DEFAULT, "lost")
    assert not table(changed(MEASURED, path, 1.0))[1]


@pytest.fixture
def subject(monkeypatch: pytest.MonkeyPatch) -> trial.Trial:
    """A trial of a subject that holds for 10 ms, without a network."""
    monkeypatch.setattr(trial, "Namespace", lambda *options, **more: None)
    return trial.Trial(Subject("hasty", ["hasty"], 10 * MS))


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ({"sent": 0}, "the sender sent nothing"),
        ({"sent": 9, "received": 9, "min": 2 * MS}, "hasty held a packet only 2.000 ms"),
        ({"sent": 9, "received": 9, "min": 10 * MS}, None),
        ({"sent": 9, "min": -1}, None),
    ],
)
def test_a_load_that_shows_nothing_is_no_measurement(
    counts: dict[str, int], message: str | None, subject: trial.Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = Load._make(0 for _ in Load._fields)._replace(**counts)
    monkeypatch.setattr(trial, "load", lambda namespace: found)
    with nullcontext() if message is None else pytest.raises(BenchError, match=message):
        assert subject.load() == found


@pytest.mark.parametrize(("succeeds", "is_found"), [((0,), False), ((0, 1), False), ((0, 1, 2), True)])
def test_what_succeeds_in_few_rounds_only_is_not_measured(succeeds: tuple[int, ...], is_found: bool) -> None:
    rounds = count()

    def measure(subject: str) -> list[tuple[str, Found]]:
        if next(rounds) not in succeeds:
            raise BenchError("no")
        return [("condition", {"rate": 1.0})]

    found = interleave_conditions(5, ["subject"], measure, str)
    assert bool(found["condition"]) == is_found


@pytest.mark.parametrize("option", ["--rounds", "--seconds"])
@pytest.mark.parametrize("value", ["0", "-1", "nan", "x"])
def test_a_run_of_no_length_is_refused(
    option: str, value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["bench", option, value, "--plan"])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert f"argument {option}: " in capsys.readouterr().err
