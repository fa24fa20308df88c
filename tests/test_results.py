"""The results of several workers, added up."""

import json

from shaper.core.counts import StageUse
from shaper.core.failure import Failure, Failures
from shaper.core.verdict import Verdict
from shaper.live.front.results import Result, merged, packets_received, result_of
from shaper.live.lateness import MAX_SAMPLES, Holds
from shaper.live.summary import Summary
from shaper.wire.packet import Packet


def held(*holds: int) -> Holds:
    """Packets held for these times (ns), 7 ns longer than planned, one after the other."""
    made = Holds()
    for hold in holds:
        made.add([Verdict(Packet(b"", 0, 0), "sent", hold)], hold + 7)
    return made


def reported(
    holds: Holds,
    *,
    taken: int = 0,
    lost: int | None = 0,
    failures: Failures | None = None,
    stages: dict[str, StageUse] | None = None,
) -> Result:
    """A worker's result, as its parent reads it."""
    summary = Summary(
        taken=taken,
        sent=taken,
        dropped=0,
        overflowed=0,
        injected=0,
        not_injected=0,
        bypassed=1,
        cut_short=0,
        lost_queue_full=lost,
        lost_buffer_full=lost,
        lost_to_reload=0,
        rules_lost=0,
        wanted=holds.wanted,
        actual=holds.actual,
        late=holds.late,
        failures=failures or Failures(),
        duration=0,
        counters={"p": {"seen": taken}},
        stages=stages or {},
    )
    said: Result = json.loads(json.dumps(result_of(summary, holds)))
    return said


def summed(*results: Result, bypassed: int | None = 0) -> Summary:
    return merged(results, bypassed=bypassed, left=0, rules_lost=0, duration=5, allow=False)


def test_counts_are_added_up() -> None:
    results = reported(held(1), taken=3), reported(held(2), taken=4)
    summary = summed(*results)
    assert (summary.taken, summary.sent, summary.duration) == (7, 7, 5)
    assert summary.counters == {"p": {"seen": 7}}
    assert packets_received(results) == 7


def test_a_stage_touched_nothing_if_it_touched_nothing_in_any_worker() -> None:
    stages = (
        {
            "a": StageUse(2, True, True, ""),
            "b": StageUse(0, False, True, "only=syn"),
            "c": StageUse(0, False, False, ""),
        },
        {
            "a": StageUse(3, True, True, ""),
            "b": StageUse(0, False, False, "only=syn"),
            "c": StageUse(1, True, False, ""),
        },
    )
    summary = summed(*(reported(held(), taken=1, stages=each) for each in stages))
    assert summary.stages == {
        "a": StageUse(5, True, True, ""),
        "b": StageUse(0, False, True, "only=syn"),
        "c": StageUse(1, True, False, ""),
    }
    assert list(summary.touched_nothing) == ["b"]


def test_bypassed_is_the_larger_of_what_the_rules_and_the_workers_counted() -> None:
    both = reported(held(), taken=3), reported(held(), taken=4)
    assert summed(*both, bypassed=0).bypassed == 2
    assert summed(*both, bypassed=9).bypassed == 9
    assert summed(*both, bypassed=None).bypassed is None


def test_a_count_that_is_unknown_for_one_worker_is_unknown_for_all() -> None:
    assert summed(reported(held(), lost=None), reported(held(), lost=None)).lost_queue_full is None
    assert summed(reported(held(), lost=1), reported(held(), lost=2)).lost_queue_full == 3


def test_percentiles_are_those_of_all_packets() -> None:
    wanted = summed(reported(held(*range(1, 100))), reported(held(1000))).wanted
    assert wanted == (100, 50, 99, 1000)
    late = summed(reported(held(*range(1, 100))), reported(held(1000))).late
    assert (late.p50, late.max) == (7, 7)


def test_a_busy_worker_counts_for_more_than_its_samples_do() -> None:
    """It has discarded every second sample; the other's samples are thinned in the same way."""
    busy = held(*[10] * (MAX_SAMPLES + 1))
    wanted = summed(reported(busy), reported(held(*[20] * 1000))).wanted
    assert wanted.packets == MAX_SAMPLES // 2 + 1 + 500


def test_failures_of_all_are_reported_and_counted() -> None:
    failures = Failures()
    failures.append(Failure("p", "p.py:1", "wrong", "traceback"))
    summary = summed(reported(held(), failures=failures), reported(held(), failures=failures))
    assert summary.failures == [*failures, *failures]
    assert summary.failures.total == 2
    assert summary.status == 1
