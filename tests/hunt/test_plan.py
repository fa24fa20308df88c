"""The search for a failure, on programs that are only said to be some: each is a function of the fates."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress

import pytest

from shaper.experiment.hunt.plan import Attempt, Hunt, Schedule, Seen, singles
from shaper.policy.fate import Fate, parse_fates
from shaper.units import ms, s
from shaper.wire.naming import PacketName

FAILURE = "exit status 1"
TALK = (
    "tcp/80 #1 original syn 1",
    "tcp/80 #1 reply synack 1",
    "tcp/80 #1 original handshake-ack 1",
    "tcp/80 #1 original data 1",
    "tcp/80 #1 reply data 1",
    "tcp/80 #1 reply data 2",
    "tcp/80 #1 original fin 1",
)

Program = Callable[[Schedule], str | None]
"""How the program fails with these fates; None or an empty text if it passes."""


def seen(failure: str | None = "", packets: Iterable[str] = TALK) -> Seen:
    names = tuple(PacketName.parse(name) for name in packets)
    return Seen(failure or "", names, tuple(name._replace(service="") for name in names))


def lost(fates: Schedule) -> set[str]:
    """The names of packets that are dropped."""
    return {str(fate.packet) for fate in fates if fate.what == "drop"}


def played(program: Program, hunt: Hunt, *, trials: int = 2000) -> list[Attempt]:
    """Play the search with a program whose retransmissions follow what is dropped; returns its attempts."""
    attempts: list[Attempt] = []
    search = hunt.attempts()
    attempt = next(search, None)
    while attempt is not None and len(attempts) < trials:
        attempts.append(attempt)
        again = [f"{name} again" for name in sorted(lost(attempt.fates)) if "again" not in name]
        try:
            attempt = search.send(seen(program(attempt.fates), [*TALK, *again]))
        except StopIteration:
            break
    return attempts


def found(hunt: Hunt) -> list[str]:
    assert hunt.found is not None
    return [str(fate) for fate in hunt.found.fates]


def fails_if(*fates: str) -> Program:
    """A program that fails if all of these are among its fates."""
    wanted = {Fate.parse(fate) for fate in fates}
    return lambda given: FAILURE if wanted <= set(given) else None


def test_a_single_packet_of_the_undisturbed_run() -> None:
    hunt = Hunt()
    attempts = played(fails_if("tcp/80 #1 reply data 2: drop"), hunt)
    assert found(hunt) == ["tcp/80 #1 reply data 2: drop"]
    assert hunt.found is not None
    assert hunt.found[1:4] == (FAILURE, 10, 10)
    phases = [attempt.phase for attempt in attempts]
    assert phases == ["undisturbed"] * 3 + ["single"] * 5 + ["again"] + ["confirm"] * 10
    assert hunt.trials == len(attempts)


def test_singles_begin_with_what_carries_something() -> None:
    fates = list(map(str, singles([PacketName.parse(name) for name in TALK], 40 * ms)))
    assert [fate.removeprefix("tcp/80 #1 ") for fate in fates] == [
        *(f"{name}: drop" for name in ("original syn 1", "reply synack 1", "original data 1")),
        *(f"{name}: drop" for name in ("reply data 1", "reply data 2", "original fin 1")),
        *(f"{name}: hold 40ms" for name in ("original syn 1", "reply synack 1", "original data 1")),
        *(f"{name}: hold 40ms" for name in ("reply data 1", "reply data 2", "original fin 1")),
        *(f"{name}: twice" for name in ("original syn 1", "reply synack 1", "original data 1")),
        *(f"{name}: twice" for name in ("reply data 1", "reply data 2", "original fin 1")),
        *(f"{name}: behind 1" for name in ("original syn 1", "reply synack 1", "original data 1", "reply data 1")),
        *(f"original handshake-ack 1: {fate}" for fate in ("drop", "hold 40ms", "twice", "behind 1")),
    ]


def test_of_a_long_row_the_first_and_the_last_come_first() -> None:
    row = [PacketName("udp/53", 1, "reply", "udp", nth) for nth in range(1, 101)]
    dropped = [fate.packet.nth for fate in singles(row, ms) if fate.what == "drop"]
    assert dropped == [1, 2, 3, 100, *range(4, 100)]


def test_a_packet_that_only_a_fate_brings_about() -> None:
    fates = "tcp/80 #1 original syn 1: drop", "tcp/80 #1 original syn 1 again: drop"
    hunt = Hunt()
    attempts = played(fails_if(*fates), hunt)
    assert found(hunt) == list(fates)
    first = next(attempt for attempt in attempts if attempt.phase == "pair")
    assert [str(fate) for fate in first.fates] == list(fates)


def test_a_pair_of_the_undisturbed_run() -> None:
    fates = "tcp/80 #1 original data 1: hold 300ms", "tcp/80 #1 reply data 2: drop"
    hunt = Hunt()
    played(lambda given: FAILURE if long_holds(given) and lost(given) >= {TALK[5]} else None, hunt)
    # How the hold shrinks is told below.
    assert found(hunt) == [fates[0].replace("300ms", "100ms"), fates[1]]


def long_holds(fates: Schedule) -> bool:
    held = {fate.packet: fate.amount for fate in fates if fate.what == "hold"}
    return held.get(PacketName.parse(TALK[3]), 0) >= 80 * ms


def test_three_fates_are_found_at_random_and_others_left_out() -> None:
    hunt = Hunt(seed="3")
    attempts = played(lambda given: FAILURE if {TALK[0], TALK[3], TALK[6]} <= lost(given) else None, hunt)
    assert sorted(found(hunt)) == sorted(f"{name}: drop" for name in (TALK[0], TALK[3], TALK[6]))
    assert hunt.found is not None
    assert len(hunt.found.first) > 3
    assert attempts[-11].phase == "shrink"


@pytest.mark.parametrize(("least", "shown"), [(0, "1ms"), (6 * ms, "20ms"), (250 * ms, "300ms")])
def test_a_hold_becomes_as_short_as_it_may_be(least: int, shown: str) -> None:
    hunt = Hunt()
    played(lambda given: FAILURE if any(f.what == "hold" and f.amount >= least for f in given) else None, hunt)
    assert found(hunt) == [f"tcp/80 #1 original syn 1: hold {shown}"]


def test_a_packet_is_overtaken_by_as_few_as_may_be() -> None:
    known = parse_fates(f"{TALK[3]}: behind 4")
    hunt = Hunt(known=[known])
    played(lambda given: FAILURE if any(f.what == "behind" and f.amount >= 2 for f in given) else None, hunt)
    assert found(hunt) == [f"{TALK[3]}: behind 2"]


def test_what_was_found_before_comes_first() -> None:
    known = parse_fates(f"{TALK[4]}: twice; {TALK[6]}: drop")
    hunt = Hunt(known=[parse_fates(f"{TALK[0]}: twice"), known])
    attempts = played(fails_if(*map(str, known)), hunt)
    assert [attempt.fates for attempt in attempts[3:5]] == [parse_fates(f"{TALK[0]}: twice"), known]
    assert found(hunt) == list(map(str, known))


def test_a_failure_that_does_not_come_again_is_a_fluke() -> None:
    count = 0

    def program(fates: Schedule) -> str:
        nonlocal count
        count += 1
        return FAILURE if count == 5 else ""

    hunt = Hunt()
    attempts = played(program, hunt)
    assert hunt.found is None
    assert hunt.flukes == [(attempts[4].fates, FAILURE)]
    assert [attempt.phase for attempt in attempts[4:8]] == ["single", "again", "again", "single"]


def test_it_says_how_often_a_failure_came_again() -> None:
    turn = 0

    def program(fates: Schedule) -> str:
        nonlocal turn
        turn += bool(lost(fates))
        return FAILURE if lost(fates) and turn % 3 else ""

    hunt = Hunt(confirmations=9)
    played(program, hunt)
    assert hunt.found is not None
    assert (hunt.found.failed, hunt.found.runs) == (6, 9)


def test_another_failure_is_another_one() -> None:
    both = parse_fates(f"{TALK[3]}: drop; {TALK[4]}: drop")

    def program(fates: Schedule) -> str:
        if set(both) <= set(fates):
            return "timed out"
        return FAILURE if both[1] in fates else ""

    hunt = Hunt(known=[both])
    played(program, hunt)
    assert found(hunt) == list(map(str, both))
    assert hunt.found is not None
    assert hunt.found.failure == "timed out"


def test_a_program_that_fails_undisturbed() -> None:
    hunt = Hunt()
    assert len(played(lambda _: FAILURE, hunt)) == 3
    assert hunt.found == ((), FAILURE, 3, 3, ())


def test_the_seed_decides_the_search() -> None:
    tried = [[each.fates for each in played(lambda _: None, Hunt(seed=seed), trials=500)] for seed in ("1", "1", "2")]
    assert tried[0] == tried[1]
    assert tried[0] != tried[2]
    assert len(set(map(frozenset, tried[0][2:]))) == 498  # none is tried twice


def test_it_ends_when_all_was_tried() -> None:
    hunt = Hunt()
    search = hunt.attempts()
    tried = [next(search).fates]
    with suppress(StopIteration):
        while len(tried) < 100:
            tried.append(search.send(seen(packets=["udp/53 #1 original udp 1"])).fates)
    assert hunt.found is None
    assert 6 < len(tried) < 20


def test_services_on_ports_that_change_are_left_out_of_the_names() -> None:
    hunt = Hunt()
    search = hunt.attempts()
    attempt = next(search)
    for port in (34567, 45678, 33333):
        attempt = search.send(seen(packets=[name.replace("tcp/80", f"tcp/{port}") for name in TALK]))
    assert str(attempt.fates[0]) == "#1 original syn 1: drop"


def test_packets_that_not_every_run_has_are_left_alone() -> None:
    hunt = Hunt()
    search = hunt.attempts()
    next(search)
    search.send(seen(packets=TALK[:5]))
    search.send(seen())
    search.send(seen())
    assert [str(name) for name in hunt.packets] == list(TALK[:5])


def test_how_long_a_late_packet_is_held_can_be_chosen() -> None:
    hunt = Hunt(late=2 * s)
    assert any(each.fates[0].amount == 2 * s for each in played(lambda _: None, hunt, trials=20) if each.fates)
