"""The results of the workers of one run, as each reports them, and added up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from shaper.core.counts import StageUse
from shaper.core.failure import Failure, Failures
from shaper.live.lateness import MAX_SAMPLES, Holds
from shaper.live.summary import Summary

ADDED = (
    "taken",
    "sent",
    "dropped",
    "overflowed",
    "injected",
    "not_injected",
    "bypassed",
    "cut_short",
    "lost_queue_full",
    "lost_buffer_full",
    "lost_to_reload",
    "connections_left",
    "packets_left",
)
"""Those counts of a summary that are the sum of the workers'."""

Result = Mapping[str, Any]
"""One worker's summary and holds, as JSON has them."""


def result_of(summary: Summary, holds: Holds, *, samples: int = MAX_SAMPLES) -> Result:
    """A worker's result so far, with at most this number of samples of its holds."""
    return {
        "counts": {name: getattr(summary, name) for name in ADDED},
        "counters": summary.counters,
        "stages": summary.stages,
        "failures": list(summary.failures),
        "failed": summary.failures.total,
        "uncut": summary.uncut,
        "holds": holds.to_json(samples),
    }


def packets_received(results: Sequence[Result]) -> int:
    """How many packets the queues received, including those that they had to drop."""
    names = ("taken", "lost_queue_full", "lost_buffer_full")
    return sum(each["counts"][name] or 0 for each in results for name in names)


def of_gone(result: Result) -> Result:
    """The result of a worker whose network namespace went away: what the kernel dropped with it isn't lost."""
    return {**result, "counts": {**result["counts"], "lost_to_reload": 0}}


def merged(
    results: Sequence[Result], *, bypassed: int | None, left: int, rules_lost: int, duration: int, allow: bool
) -> Summary:
    """The one summary of all workers.

    Args:
        results: theirs.
        bypassed: packets that the rules counted and that never came; None if the rules are somebody else's.
        left: packets of connections that have left the queue.
        rules_lost: how often another program removed some of the rules.
        duration: of the run, in ns.
        allow: bypassed packets are no failure.
    """
    counts: dict[str, Any] = {name: _sum([each["counts"][name] for each in results]) for name in ADDED}
    # The workers' own figures are those that they saw in the kernel's numbering.
    counts["bypassed"] = None if bypassed is None else max(bypassed, counts["bypassed"] or 0)
    if counts["packets_left"] is not None:
        counts["packets_left"] = left
    holds = Holds.joined(each["holds"] for each in results)
    counters: dict[str, Counter[str]] = {}
    failures = Failures()
    stages: dict[str, StageUse] = {}
    for each in results:
        for name, use in each["stages"].items():
            stages[name] = _joined(StageUse(*use), stages.get(name))
        for policy, counted in each["counters"].items():
            counters.setdefault(policy, Counter()).update(counted)
        for failure in each["failures"]:
            failures.append(Failure(*failure))
    failures.total = sum(each["failed"] for each in results)
    return Summary(
        **counts,
        rules_lost=rules_lost,
        wanted=holds.wanted,
        actual=holds.actual,
        late=holds.late,
        failures=failures,
        duration=duration,
        counters=counters,
        stages=stages,
        uncut=any(each["uncut"] for each in results),
        allow_bypass=allow,
    )


def _joined(use: StageUse, other: StageUse | None) -> StageUse:
    """A stage of one worker, with the same stage of those before it."""
    if other is None:
        return use
    return StageUse(
        use.dropped + other.dropped,
        use.touched or other.touched,
        use.met or other.met,
        use.selection,
        use.held + other.held,
        use.injected + other.injected,
    )


def _sum(values: Sequence[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None
