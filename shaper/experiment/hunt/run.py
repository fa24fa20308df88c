"""Runs a hunt: the attempts of the plan as trials in a lab."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, Protocol

from shaper.experiment.hunt.plan import Attempt, Found, Hunt, Schedule, Seen
from shaper.experiment.trial import Outcome, Trial
from shaper.journal import names_of
from shaper.policy.fate import format_fates
from shaper.units import ms, s

SEARCHES = frozenset({"known", "single", "pair", "random"})
"""The phases that end when the budget is spent; what was found is still confirmed."""
PATIENCE = 10
"""A trial may take this many times as long as the longest undisturbed one,"""
GRACE = 3 * s
"""and this long (ns) on top: TCP retransmits a SYN after 1 s, and again after 2 s more."""

STEP = 100 * ms
"""Timeouts are rounded up to this (ns)."""

End = Literal["found", "exhausted", "budget", "interrupted"]


class Budget(NamedTuple):
    """When to stop searching: after this time (ns), or after this many trials; None means no limit."""

    time: int | None = None
    trials: int | None = None


UNLIMITED = Budget()


class Runs(Protocol):
    """What runs trials: a `shaper.experiment.lab.Lab`."""

    def run(self, trial: Trial) -> Outcome:
        """Run this trial to its end."""
        ...


@dataclass(frozen=True)
class Hunted:
    """What came of a hunt.

    Attributes:
        trial: of the command, without fates; its timeout is the one that disturbed trials had.
        end: why the hunt ended.
        found: the failure; None without one.
        flukes: failures that did not come again, each with its fates.
        trials, duration: how many trials were run, and how long that took, in ns.
        packets: how many packets of the undisturbed run have the same name in each of its repetitions.
        passing: the last undisturbed trial; None if the hunt ended before it.
        failing: the last trial that failed with the fates found.
    """

    trial: Trial
    end: End
    found: Found | None
    flukes: tuple[tuple[Schedule, str], ...]
    trials: int
    duration: int
    packets: int
    passing: Outcome | None
    failing: Outcome | None


def hunt(
    lab: Runs,
    trial: Trial,
    *,
    plan: Hunt | None = None,
    budget: Budget = UNLIMITED,
    fails_if: re.Pattern[str] | None = None,
    timeout: int | None = None,
    trying: Callable[[Attempt, int], object] = lambda attempt, trials: None,
) -> Hunted:
    """Search for the smallest misfortune under which a command fails.

    A KeyboardInterrupt ends the hunt; what is known by then is in the result.

    Args:
        lab: runs the trials.
        trial: the command, the policies behind the fates, and the seed; its timeout is for undisturbed runs.
        plan: what is tried; by default, a new `Hunt` with the trial's seed.
        budget: when to stop searching.
        fails_if: the command has failed, too, if this is found in its output or errors.
        timeout: the longest that a disturbed trial may take, in ns; None: `PATIENCE` times as long as an undisturbed
            one, plus `GRACE`.
        trying: called before each trial, with the number of those before it.

    Raises:
        LoadError, ProgramError, ShaperError: see `shaper.experiment.lab.Lab.run`.
    """
    plan = plan if plan is not None else Hunt(seed=trial.seed)
    begin, longest = time.monotonic_ns(), 0
    passing: Outcome | None = None
    failing: dict[Schedule, Outcome] = {}
    end: End = "exhausted"
    disturbed = replace(trial, timeout=trial.timeout if timeout is None else timeout)
    attempts = plan.attempts()
    try:
        attempt = next(attempts)
        while True:
            if attempt.phase in SEARCHES and _is_spent(budget, begin, plan.trials):
                end = "budget"
                break
            trying(attempt, plan.trials)
            base = disturbed if attempt.fates else trial
            outcome = lab.run(replace(base, policies=(*spec_of(attempt.fates), *trial.policies), number=plan.trials))
            failure = failure_of(outcome, fails_if)
            if not attempt.fates:
                passing = outcome
                longest = max(longest, outcome.duration)
                if timeout is None:
                    patience = min(trial.timeout, PATIENCE * longest + GRACE)
                    disturbed = replace(trial, timeout=-(-patience // STEP) * STEP)
            if failure:
                failing[attempt.fates] = outcome
            attempt = attempts.send(seen_of(outcome, failure))
    except StopIteration:
        end = "exhausted" if plan.found is None else "found"
    except KeyboardInterrupt:
        end = "interrupted"
    return Hunted(
        disturbed,
        end,
        plan.found,
        tuple(plan.flukes),
        plan.trials,
        time.monotonic_ns() - begin,
        len(plan.packets),
        passing,
        failing.get(plan.found.fates) if plan.found else None,
    )


def _is_spent(budget: Budget, begin: int, trials: int) -> bool:
    if budget.trials is not None and trials >= budget.trials:
        return True
    return budget.time is not None and time.monotonic_ns() - begin >= budget.time


def spec_of(fates: Schedule) -> tuple[str, ...]:
    """The SPEC of these fates; none if there are none."""
    return (f"fates:{format_fates(fates)}",) if fates else ()


def seen_of(outcome: Outcome, failure: str) -> Seen:
    """What the plan is told of an outcome."""
    packets = sorted(outcome.records, key=lambda record: record.id)
    names = (tuple(filter(None, names_of(packets, services=services))) for services in (True, False))
    return Seen(failure, *names)


def failure_of(outcome: Outcome, fails_if: re.Pattern[str] | None = None) -> str:
    """How the command has failed: "exit status 1", "SIGSEGV", "timed out"; empty if it has not."""
    if outcome.status is None:
        return "timed out"
    if outcome.status < 0:
        names = {int(number): number.name for number in signal.Signals}
        return names.get(-outcome.status, f"signal {-outcome.status}")
    if outcome.status:
        return f"exit status {outcome.status}"
    texts = (outcome.stdout.decode(errors="replace"), outcome.stderr.decode(errors="replace"))
    if fails_if is not None and any(map(fails_if.search, texts)):
        return f"it said '{fails_if.pattern}'"
    return ""
