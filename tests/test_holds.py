"""Holds as intervals, and the tiling of a wait: exact."""

from typing import NamedTuple

from shaper.journal import Held, Record
from shaper.report.holds import holds, tile
from shaper.wire.flow import Flow


class Step(NamedTuple):
    start: int
    end: int


def test_a_late_verdict_belongs_to_the_last_hold() -> None:
    record = Record(
        id=1, flow=Flow("tcp", "127.0.0.1", 1, "127.0.0.1", 2), kind="data", flags="A", seq=0, ack=0, length=52,
        arrived=100, taken=100, fate="sent", planned=160, begin=163, end=165, tid=1,
        held=(Held("delay", 20), Held("spread_burst", 40)),
    )  # fmt: skip
    assert [(hold.start, hold.end, hold.policy) for hold in holds(record)] == [
        (100, 120, "delay"),
        (120, 163, "spread_burst"),
    ]
    ((start, end, _, policy),) = holds(record._replace(held=()))
    assert (start, end, policy) == (100, 163, "shaper")


def parts(*steps: tuple[int, int]) -> list[tuple[int, int, Step | None]]:
    """How these steps are laid over the wait from 10 to 100."""
    return [(start, end, step) for start, end, step in tile([Step(*step) for step in steps], 10, 100)]


def test_steps_are_cut_to_the_wait() -> None:
    assert parts((60, 120), (0, 60)) == [(60, 100, Step(60, 120)), (10, 60, Step(0, 60))]


def test_what_no_step_covers_stays_unexplained() -> None:
    assert parts() == [(10, 100, None)]
    assert parts((50, 90), (20, 30)) == [
        (90, 100, None),
        (50, 90, Step(50, 90)),
        (30, 50, None),
        (20, 30, Step(20, 30)),
        (10, 20, None),
    ]


def test_where_steps_overlap_the_later_one_has_the_time() -> None:
    assert parts((50, 100), (10, 70)) == [(50, 100, Step(50, 100)), (10, 50, Step(10, 70))]


def test_a_step_that_ends_before_it_starts_explains_nothing() -> None:
    assert parts((60, 40), (10, 60)) == [(60, 100, None), (10, 60, Step(10, 60))]
