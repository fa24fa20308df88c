"""A hunt in a lab that only plays: what it runs, when it ends, and what it takes for a failure."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from shaper.experiment.hunt.plan import CONFIRMATIONS, UNDISTURBED, Hunt
from shaper.experiment.hunt.run import GRACE, PATIENCE, Budget, failure_of, hunt, seen_of
from shaper.experiment.trial import Outcome, Trial
from shaper.units import ms, s
from tests.hunt.runs import outcome, record

LOST = "fates:udp/53 #1 reply udp 1: drop"
COMMAND = Trial(("./booking",), ("delay:1ms",), "7")


class Lab:
    """Plays trials by a function of theirs."""

    def __init__(self, play: Callable[[Trial], Outcome]) -> None:
        self.trials: list[Trial] = []
        self._play = play

    def run(self, trial: Trial) -> Outcome:
        self.trials.append(trial)
        return self._play(trial)


def books_twice(trial: Trial) -> Outcome:
    return outcome(1 if LOST in trial.policies else 0)


def test_fates_come_before_the_other_policies() -> None:
    lab = Lab(books_twice)
    hunted = hunt(lab, COMMAND)
    assert [trial.policies for trial in lab.trials[: UNDISTURBED + 2]] == [
        *[("delay:1ms",)] * UNDISTURBED,
        ("fates:udp/53 #1 original udp 1: drop", "delay:1ms"),
        (LOST, "delay:1ms"),
    ]
    assert {(trial.command, trial.seed) for trial in lab.trials} == {(COMMAND.command, "7")}
    assert len({trial.key for trial in lab.trials}) == hunted.trials == len(lab.trials)


def test_what_is_found() -> None:
    hunted = hunt(Lab(books_twice), COMMAND)
    assert hunted.found is not None
    assert list(map(str, hunted.found.fates)) == ["udp/53 #1 reply udp 1: drop"]
    assert (hunted.found.failure, hunted.found.failed) == ("exit status 1", CONFIRMATIONS)
    assert (hunted.end, hunted.packets) == ("found", 2)
    assert hunted.failing == outcome(1)
    assert hunted.passing == outcome(0)


def test_a_disturbed_trial_may_take_longer_than_an_undisturbed_one() -> None:
    lab = Lab(lambda trial: outcome(duration=(60 + trial.number) * ms))
    hunt(lab, COMMAND, budget=Budget(trials=5))
    assert [trial.timeout for trial in lab.trials] == [30 * s] * UNDISTURBED + [3700 * ms] * 2
    assert 62 * ms * PATIENCE + GRACE <= 3700 * ms


def test_how_long_a_disturbed_trial_may_take_can_be_chosen() -> None:
    lab = Lab(lambda trial: outcome())
    hunted = hunt(lab, COMMAND, budget=Budget(trials=5), timeout=500 * ms)
    assert [trial.timeout for trial in lab.trials] == [30 * s] * UNDISTURBED + [500 * ms] * 2
    assert hunted.trial.timeout == 500 * ms


def test_the_budget_ends_the_search_but_not_a_failure_that_was_found() -> None:
    lab = Lab(books_twice)
    assert (hunt(lab, COMMAND, budget=Budget(trials=UNDISTURBED + 1)).end, len(lab.trials)) == (
        "budget",
        UNDISTURBED + 1,
    )
    hunted = hunt(Lab(books_twice), COMMAND, budget=Budget(trials=UNDISTURBED + 2))
    assert (hunted.end, hunted.trials) == ("found", UNDISTURBED + 3 + CONFIRMATIONS)


def test_a_budget_of_time() -> None:
    hunted = hunt(Lab(books_twice), COMMAND, budget=Budget(time=0))
    assert (hunted.end, hunted.trials, hunted.found) == ("budget", UNDISTURBED, None)


@pytest.mark.parametrize(("trials", "found"), [(2, False), (8, True)])
def test_an_interrupt_keeps_what_is_known(trials: int, found: bool) -> None:
    def play(trial: Trial) -> Outcome:
        if len(lab.trials) > trials:
            raise KeyboardInterrupt
        return books_twice(trial)

    lab = Lab(play)
    hunted = hunt(lab, COMMAND)
    assert (hunted.end, hunted.trials, hunted.found is not None) == ("interrupted", trials, found)


def test_nothing_left_to_try() -> None:
    hunted = hunt(Lab(lambda trial: outcome(records=[])), COMMAND)
    assert (hunted.end, hunted.trials, hunted.packets) == ("exhausted", UNDISTURBED, 0)


def test_each_attempt_is_announced() -> None:
    said: list[tuple[str, int]] = []
    hunt(
        Lab(books_twice),
        COMMAND,
        plan=Hunt(confirmations=1),
        trying=lambda attempt, trials: said.append((attempt.phase, trials)),
    )
    assert said[-3:] == [("single", UNDISTURBED + 1), ("again", UNDISTURBED + 2), ("confirm", UNDISTURBED + 3)]


@pytest.mark.parametrize(
    ("ended", "failure"),
    [
        (outcome(), ""),
        (outcome(3), "exit status 3"),
        (outcome(-11), "SIGSEGV"),
        (outcome(-35), "signal 35"),
        (outcome(None), "timed out"),
        (outcome(stdout=b"seat 4\nbooked twice\n"), "it said '^booked twice'"),
        (outcome(stderr=b"booked twice"), "it said '^booked twice'"),
        (outcome(stderr=b"was booked twice"), ""),
        (outcome(1, stderr=b"booked twice"), "exit status 1"),
    ],
)
def test_what_counts_as_a_failure(ended: Outcome, failure: str) -> None:
    assert failure_of(ended, re.compile("^booked twice", re.MULTILINE)) == failure


def test_packets_are_named_in_the_order_in_which_they_came() -> None:
    seen = seen_of(outcome(records=[record(2, 5), record(0, 1), record(3, 6, back=True), record(1, 0)]), "")
    assert list(map(str, seen.packets)) == [
        "udp/53 #1 original udp 1",
        "udp/53 #1 original udp 2",
        "udp/53 #1 reply udp 1",
    ]
    assert str(seen.anywhere[0]) == "#1 original udp 1"
