"""Hunts on real programs, in real networks: each planted fault is found from the undisturbed run alone."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from shaper.experiment import Lab, Trial
from shaper.experiment.hunt.plan import Hunt
from shaper.experiment.hunt.run import Budget, hunt

pytestmark = pytest.mark.usefixtures("namespaces")

PROGRAMS = Path(__file__).parent / "programs"
FAULTS = {
    "one_recv": "tcp/7001 #1 original data 1: drop",
    "no_retry": "udp/7002 #1 original udp 1: drop",
    "no_connect_timeout": "tcp/7003 #1 original syn 1: drop",
    "dies_of_rst": "tcp/7004 #1 original data 1: drop",
    "stale_pool": "tcp/7005 #1 reply fin 1: drop",
    "crossing": "tcp/7006 #1 original data 1: drop",
    "cut_off": "tcp/7007 #1 reply data 1: drop",
    "books_twice": "udp/7008 #1 reply udp 1: drop",
}
"""The program, and the first of all single fates that shows its fault."""
SINGLE_FATES_AND_SOME_PAIRS = 70


def program(name: str, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-I", "-S", str(PROGRAMS / f"{name}.py"), *arguments)


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab() as lab:
        yield lab


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_found_and_shrinks_to_one_fate(lab: Lab, name: str) -> None:
    hunted = hunt(lab, Trial(program(name)), plan=Hunt(confirmations=2))
    assert hunted.found is not None
    assert list(map(str, hunted.found.fates)) == [FAULTS[name]]
    assert (hunted.found.failure, hunted.found.failed, hunted.flukes) == ("exit status 1", 2, ())


def test_the_repaired_twins_do_not_fail(
    lab: Lab, count: Callable[[int], int], figure: Callable[[str, str], None]
) -> None:
    trials = min(max(count(200), 4), SINGLE_FATES_AND_SOME_PAIRS)
    for name in FAULTS:
        hunted = hunt(lab, Trial(program(name, "repaired")), budget=Budget(trials=trials))
        assert (name, hunted.found, hunted.flukes) == (name, None, ())
        assert hunted.end == "budget"
        assert hunted.trials == trials
    figure(f"hunts on {len(FAULTS)} programs whose faults were repaired", f"no failure in {trials} trials each")


def test_the_twin_withstands_what_the_fault_does_not(lab: Lab) -> None:
    for name in ("cut_off", "books_twice"):
        fates = (f"fates:{FAULTS[name]}",)
        assert lab.run(Trial(program(name), fates)).status == 1
        outcome = lab.run(Trial(program(name, "repaired"), fates))
        assert outcome.status == 0, outcome.stderr
        assert outcome.summary["counters"] == {"fates": {"met": 1, "not met": 0}}
