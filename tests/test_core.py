"""The contract of a policy, one sentence at a time."""

from __future__ import annotations

import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from shaper import Answer, Drop, Hold, Limit, Packet, Policy, Send, Wake, agenda, ms
from shaper.core import Core
from shaper.failure import PoliciesFailed
from shaper.header import ACK, SYN
from shaper.seat import WAKES_IN_A_ROW
from shaper.seating import stage_names
from shaper.timeline.look import Ends, Look, bytes_of

ENDS = Ends("192.0.2.1", 40000, "192.0.2.9", 80)
UDP = Look("udp", 10)
Said = list[tuple[int, str, int]]
# What a policy without type checks may say.
HALF: Any = 0.5
NOTHING: Any = None


def udp(number: int, at: int = 0, ends: Ends = ENDS) -> Packet:
    return Packet(bytes_of(UDP, ends, number), number, at)


def run(core: Core, *arrivals: Packet, until: int | None = None) -> Said:
    """What becomes of the packets: (number, fate, planned time), in order."""
    verdicts = []
    for packet in arrivals:
        core.receive(packet, packet.arrived)
        verdicts += core.due(packet.arrived)
    while (deadline := core.next_deadline()) is not None and (until is None or deadline <= until):
        verdicts += core.due(deadline)
    return [(verdict.packet.root.id, verdict.fate, verdict.planned) for verdict in verdicts]


def answering(answer: Callable[[Packet, int], Any]) -> Policy:
    """A policy that answers every packet so."""

    class Answers(Policy):
        scope = "queue"

        def on_packet(self, packet: Packet, now: int) -> Answer:
            result: Answer = answer(packet, now)
            return result

    return Answers()


class Keeps(Policy):
    """Holds every packet and is woken 10 ms after the first."""

    scope = "queue"

    def start(self) -> None:
        self.kept: list[Packet] = []

    def on_packet(self, packet: Packet, now: int) -> Answer:
        self.kept.append(packet)
        return [Hold(packet), Wake(now + 10 * ms)] if len(self.kept) == 1 else Hold(packet)


# Send.


@pytest.mark.parametrize("at", [None, -1, 0, 5 * ms])
def test_a_past_time_means_now(at: int | None) -> None:
    core = Core([answering(lambda packet, now: Send(packet, at=at))])
    assert run(core, udp(1, 5 * ms)) == [(1, "sent", 5 * ms)]


def test_a_planned_packet_cannot_be_recalled() -> None:
    class Regrets(Policy):
        scope = "queue"

        def start(self) -> None:
            self._first: Packet | None = None

        def on_packet(self, packet: Packet, now: int) -> Answer:
            if self._first is None:
                self._first = packet
                return Send(packet, at=now + 10 * ms)
            return Drop(self._first)

    core = Core([Regrets()])
    assert run(core, udp(1), udp(2, ms)) == [(2, "sent", ms), (1, "sent", 10 * ms)]
    assert "does not hold this packet" in str(core.failures[0])


def test_a_second_send_is_a_duplicate_counted_apart() -> None:
    core = Core([answering(lambda packet, now: [Send(packet), Send(packet, at=now + 3 * ms), Send(packet)])])
    assert run(core, udp(1)) == [(1, "sent", 0), (0, "injected", 0), (0, "injected", 3 * ms)]
    assert (core.taken, core.sent, core.injected) == (1, 1, 2)


def test_a_further_send_of_a_planned_packet_is_a_duplicate() -> None:
    class Repeats(Policy):
        def start(self) -> None:
            self._packet: Packet | None = None

        def on_packet(self, packet: Packet, now: int) -> Answer:
            self._packet = packet
            return [Send(packet, at=now + 10 * ms), Wake(now + 4 * ms)]

        def on_wake(self, now: int) -> Answer:
            assert self._packet is not None
            return Send(self._packet, at=now + ms)

    assert run(Core([Repeats()]), udp(1)) == [(0, "injected", 5 * ms), (1, "sent", 10 * ms)]


def test_hold_and_send_in_one_answer_is_no_duplicate() -> None:
    core = Core([answering(lambda packet, now: [Hold(packet), Send(packet, at=now + 2 * ms)])])
    assert run(core, udp(1)) == [(1, "sent", 2 * ms)]
    assert (core.held, core.cut_short) == (0, 0)


def test_actions_run_in_order_and_a_packet_not_mentioned_goes_first() -> None:
    class Swaps(Keeps):
        def on_packet(self, packet: Packet, now: int) -> Answer:
            self.kept.append(packet)
            if packet.id == 1:
                return Hold(packet)
            if packet.id == 2:
                return [Send(packet), Send(self.kept[0])]
            return [Send(Packet(packet.raw))]

    assert [number for number, *_ in run(Core([Swaps()]), udp(1), udp(2), udp(3))] == [2, 1, 3, 0]


def test_a_new_packet_is_injected_and_passes_the_later_stages_alone() -> None:
    seen: list[str] = []

    class Makes(Policy):
        def on_packet(self, packet: Packet, now: int) -> Answer:
            seen.append("first")
            return [Send(packet), Send(Packet(packet.raw), at=now + ms)]

    class Sees(Policy):
        def on_packet(self, packet: Packet, now: int) -> Answer:
            seen.append(f"second {packet.segment}")
            return None

    assert run(Core([Makes(), Sees()]), udp(1)) == [(1, "sent", 0), (0, "injected", ms)]
    assert seen == ["first", "second udp", "second udp"]


def test_a_packet_made_once_can_be_sent_again_and_again() -> None:
    class Beats(Policy):
        def start(self) -> None:
            self._beat = Packet(bytes_of(UDP, ENDS, 9))

        def on_packet(self, packet: Packet, now: int) -> Answer:
            return Send(self._beat, at=now + ms)

    core = Core([Beats()], max_hold=5 * ms)
    fates = run(core, udp(1), udp(2, 50 * ms))
    assert fates == [(1, "sent", 0), (0, "injected", ms), (2, "sent", 50 * ms), (0, "injected", 51 * ms)]
    assert core.cut_short == 0


def test_a_rewritten_packet_is_the_same_packet() -> None:
    core = Core([answering(lambda packet, now: Send(packet.with_raw(packet.raw + b"more"), at=now + ms))])
    core.receive(udp(1), 0)
    (verdict,) = core.due(ms)
    assert (verdict.fate, verdict.rewritten, verdict.packet.raw[-4:]) == ("sent", True, b"more")
    assert verdict.packet.root.id == 1
    assert verdict.packet.length == verdict.packet.root.length + 4


def test_a_held_packet_rewritten_at_the_last_moment_is_rewritten() -> None:
    class Late(Keeps):
        def on_wake(self, now: int) -> Answer:
            return Send(self.kept[0].with_raw(self.kept[0].raw + b"late"), at=now + 1000 * ms)

    core = Core([Late()], max_hold=20 * ms)
    core.receive(udp(1), 0)
    verdicts = core.due(10 * ms) + core.due(100 * ms)
    assert [(verdict.planned, verdict.packet.raw[-4:]) for verdict in verdicts] == [(20 * ms, b"late")]
    assert core.cut_short == 1


# Drop and Hold.


def test_a_dropped_packet_reaches_no_later_stage() -> None:
    reached: list[Packet] = []
    core = Core([answering(lambda packet, now: Drop(packet)), answering(lambda packet, now: reached.append(packet))])
    assert run(core, udp(1)) == [(1, "dropped", 0)]
    assert reached == []


def test_a_held_packet_waits_until_it_is_sent_or_dropped() -> None:
    class Sorts(Keeps):
        def on_wake(self, now: int) -> Answer:
            return [Send(self.kept[1]), Drop(self.kept[0])]

    assert run(Core([Sorts()]), udp(1), udp(2)) == [(2, "sent", 10 * ms), (1, "dropped", 10 * ms)]


def test_what_another_stage_holds_cannot_be_touched() -> None:
    shared: list[Packet] = []

    class Gives(Policy):
        scope = "queue"

        def on_packet(self, packet: Packet, now: int) -> Answer:
            shared.append(packet)
            return Drop(shared[0]) if len(shared) > 1 else None

    core = Core([Gives(), answering(lambda packet, now: Send(packet, at=now + 10 * ms))])
    assert run(core, udp(1), udp(2)) == [(1, "sent", 10 * ms), (2, "sent", 10 * ms)]
    assert "does not hold this packet" in str(core.failures[0])
    assert core.dropped == 0


def test_what_another_object_of_the_same_policy_holds_cannot_be_touched() -> None:
    shared: list[Packet] = []

    class Steals(Policy):
        def on_packet(self, packet: Packet, now: int) -> Answer:
            shared.append(packet)
            return Hold(packet) if len(shared) == 1 else Send(shared[0])

    core = Core([Steals()], max_hold=20 * ms)
    assert run(core, udp(1), udp(2, ms, ENDS.reverse)) == [(2, "sent", ms), (1, "sent", 20 * ms)]
    assert len(core.failures) == 1


def test_a_packet_that_has_gone_cannot_be_sent_again() -> None:
    gone: list[Packet] = []

    def on_packet(packet: Packet, now: int) -> Answer:
        gone.append(packet)
        return Send(gone[0])

    core = Core([answering(on_packet)])
    assert run(core, udp(1), udp(2)) == [(1, "sent", 0), (2, "sent", 0)]
    assert "does not hold this packet" in str(core.failures[0])


# Time.


def test_no_packet_is_held_longer_than_max_hold() -> None:
    core = Core([answering(lambda packet, now: Send(packet, at=now + 1000 * ms))], max_hold=30 * ms)
    assert run(core, udp(1), udp(2, ms)) == [(1, "sent", 30 * ms), (2, "sent", 31 * ms)]
    assert core.cut_short == 2


def test_max_hold_covers_the_whole_pipeline() -> None:
    def late(packet: Packet, now: int) -> Answer:
        return Send(packet, at=now + 20 * ms)

    core = Core([answering(late), answering(late)], max_hold=30 * ms)
    assert run(core, udp(1)) == [(1, "sent", 30 * ms)]
    assert core.cut_short == 1


def test_a_hold_without_end_is_cut_short_and_a_send_after_that_is_in_vain() -> None:
    class Forgets(Keeps):
        def on_packet(self, packet: Packet, now: int) -> Answer:
            self.kept.append(packet)
            return [Hold(packet), Wake(now + 50 * ms)]

        def on_wake(self, now: int) -> Answer:
            return [Send(packet) for packet in self.kept]

    core = Core([Forgets()], max_hold=30 * ms)
    assert run(core, udp(1), udp(2, ms)) == [(1, "sent", 30 * ms), (2, "sent", 31 * ms)]
    assert (core.cut_short, core.failures) == (2, [])


def test_a_time_before_the_last_one_counts_as_that_one() -> None:
    core = Core([answering(lambda packet, now: Send(packet, at=now + 5 * ms))])
    core.receive(udp(1, 10 * ms), 10 * ms)
    core.receive(udp(2, 3 * ms), 3 * ms)
    assert core.due(0) == []
    assert [verdict.planned for verdict in core.due(50 * ms)] == [15 * ms, 15 * ms]


def test_what_is_planned_for_now_goes_before_what_arrives_now() -> None:
    policy = answering(lambda packet, now: Send(packet, at=now + 5 * ms) if packet.id == 1 else None)
    assert run(Core([policy]), udp(1), udp(2, 5 * ms)) == [(1, "sent", 5 * ms), (2, "sent", 5 * ms)]


def test_on_packet_is_told_when_the_stage_before_sent() -> None:
    times: list[int] = []
    first = answering(lambda packet, now: Send(packet, at=now + 7 * ms))
    core = Core([first, answering(lambda packet, now: times.append(now))])
    run(core, udp(1, ms))
    assert times == [8 * ms]


# Wake.


class Wakes(Policy):
    """Asks for a wake with each packet, at the times listed; notes when it is woken."""

    scope = "queue"

    def start(self) -> None:
        self._at = [30 * ms, 20 * ms, 40 * ms]

    def on_packet(self, packet: Packet, now: int) -> Answer:
        return Wake(self._at.pop(0))

    def on_wake(self, now: int) -> Answer:
        return Send(Packet(bytes_of(UDP, ENDS, 9)))


def test_a_later_wake_replaces_the_pending_one() -> None:
    fates = run(Core([Wakes()]), udp(1), udp(2), udp(3))
    assert fates == [(1, "sent", 0), (2, "sent", 0), (3, "sent", 0), (0, "injected", 40 * ms)]


def test_an_earlier_wake_replaces_a_later_one_too() -> None:
    fates = run(Core([Wakes()]), udp(1), udp(2))
    assert fates[2:] == [(0, "injected", 20 * ms)]


def test_each_object_has_its_own_wake() -> None:
    assert len(run(Core([Wakes(scope="flow")]), udp(1), udp(2, 0, ENDS.reverse))[2:]) == 2


def test_a_wake_without_end_at_one_time_is_a_failure() -> None:
    class Insomniac(Keeps):
        def on_wake(self, now: int) -> Answer:
            return Wake(now)

    core = Core([Insomniac()])
    assert run(core, udp(1)) == [(1, "sent", 10 * ms)]
    assert "test_core.py:" in core.failures[0].where
    assert "woken at once, so time can't go on" in core.failures[0].what


def test_asking_to_be_woken_at_once_is_no_loop_when_time_goes_on() -> None:
    class Prompt(Keeps):
        def on_packet(self, packet: Packet, now: int) -> Answer:
            self.kept.append(packet)
            return [Hold(packet), Wake(now)]

        def on_wake(self, now: int) -> Answer:
            kept, self.kept = self.kept, []
            return [Send(packet) for packet in kept]

    count = 2 * WAKES_IN_A_ROW
    apart = Core([Prompt()])
    assert len(run(apart, *(udp(number, number) for number in range(1, count + 1)))) == count
    together = Core([Prompt()])
    for number in range(1, count + 1):
        together.receive(udp(number), 0)
    assert len(together.due(0)) == count
    assert apart.failures == together.failures == []


def test_wakes_and_holds_that_were_replaced_use_up_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agenda, "TOO_MANY_REPLACED", 100)

    class Later(Keeps):
        def on_packet(self, packet: Packet, now: int) -> Answer:
            kept, self.kept = self.kept, [packet]
            return [Hold(packet), *(Send(each) for each in kept), Wake(now + 1 << 100)]

    core = Core([Later()])
    for number in range(1, 2001):
        core.receive(udp(number, number), number)
        core.due(number)
        assert len(core._agenda) < 250
    assert (core.sent, core.held, core.failures) == (1999, 1, [])
    assert [verdict.packet.id for verdict in core.due(60_000 * ms)] == [2000]


# Failure.


class Breaks(Keeps):
    def on_packet(self, packet: Packet, now: int) -> Answer:
        if packet.id == 3:
            raise ValueError("three is too many")
        return super().on_packet(packet, now)


def test_a_failed_policy_lets_go_of_all_it_holds_and_is_passed_by() -> None:
    core = Core([Breaks()])
    fates = run(core, udp(1), udp(2, ms), udp(3, 2 * ms), udp(4, 3 * ms))
    assert fates == [(1, "sent", 2 * ms), (2, "sent", 2 * ms), (3, "sent", 2 * ms), (4, "sent", 3 * ms)]
    (failure,) = core.failures
    line = next(n for n, text in enumerate(Path(__file__).read_text().splitlines(), 1) if "three is too many" in text)
    assert failure.where == f"{__file__}:{line}"
    assert str(failure) == f"policy test_core failed at {__file__}:{line}: ValueError: three is too many"
    assert "Traceback" in failure.details


def test_a_failure_is_one_objects_alone() -> None:
    class Half(Policy):
        def on_packet(self, packet: Packet, now: int) -> Answer:
            if packet.direction == "reply":
                raise ValueError
            return Send(packet, at=now + ms)

    core = Core([Half()])
    assert run(core, udp(1), udp(2, 0, ENDS.reverse), udp(3)) == [(2, "sent", 0), (1, "sent", ms), (3, "sent", ms)]


def test_all_policies_can_fail_together() -> None:
    class Keep(Policy):
        def on_packet(self, packet: Packet, now: int) -> Answer:
            return Hold(packet) if packet.id < 3 else Send(packet, at=now + ms)

    core = Core([Policy(), Keep()])
    for packet in (udp(1), udp(3), udp(2)):
        core.receive(packet, 0)
    verdicts = core.give_up(MemoryError("no more"))
    assert [verdict.packet.id for verdict in verdicts] == [1, 2, 3]
    assert [failure.what for failure in core.failures] == ["MemoryError: no more"] * 2
    assert run(core, udp(1, at=2 * ms)) == [(1, "sent", 2 * ms)]


def test_later_stages_still_see_what_a_failed_one_lets_go() -> None:
    core = Core([Breaks(), answering(lambda packet, now: Drop(packet))])
    assert {fate for _, fate, _ in run(core, udp(1), udp(2), udp(3))} == {"dropped"}


def test_a_policy_that_cannot_start_is_passed_by() -> None:
    class Never(Policy):
        def start(self) -> None:
            raise OSError("no")

    core = Core([Never()])
    assert run(core, udp(1), udp(2)) == [(1, "sent", 0), (2, "sent", 0)]
    assert [failure.what for failure in core.failures] == ["OSError: no"]


def test_a_policy_that_fails_for_every_flow_fills_no_memory() -> None:
    class Never(Policy):
        def on_packet(self, packet: Packet, now: int) -> Answer:
            raise ValueError("no")

    core = Core([Never()])
    for number in range(1000):
        core.receive(udp(number + 1, 0, Ends("192.0.2.1", number + 1, "192.0.2.2", 80)), 0)
    assert (core.sent, core.failures.total, len(core.failures)) == (1000, 1000, 10)
    assert str(PoliciesFailed(core.failures)).endswith("(and 999 more failures)")


def test_an_answer_without_an_end_is_a_failure() -> None:
    core = Core([answering(lambda packet, now: (Wake(now + ms) for _ in count()))])
    assert run(core, udp(1), udp(2)) == [(1, "sent", 0), (2, "sent", 0)]
    assert "answered with more than 131072 actions" in core.failures[0].what


def test_a_policy_that_exits_ends_nothing_but_itself() -> None:
    core = Core([answering(lambda packet, now: sys.exit("enough"))])
    assert run(core, udp(1), udp(2)) == [(1, "sent", 0), (2, "sent", 0)]
    assert core.failures[0].what == "SystemExit: enough"


def test_an_answer_that_breaks_half_way_keeps_what_was_done() -> None:
    core = Core([answering(lambda packet, now: [Send(packet, at=now + ms), Drop(Packet(packet.raw))])])
    assert run(core, udp(1), udp(2)) == [(2, "sent", 0), (1, "sent", ms)]
    assert len(core.failures) == 1


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda packet, now: packet, "a hook returns Send, Drop, Hold, Wake, several of these, or None"),
        (lambda packet, now: 5, "returned 5; a hook returns"),
        (lambda packet, now: False, "returned False; a hook returns"),
        (lambda packet, now: "send", "returned 's'; a hook returns"),
        (lambda packet, now: Send, "a hook returns"),
        (lambda packet, now: [Send(packet), None], "returned None; a hook returns"),
        (lambda packet, now: Send(packet.raw), "Send takes a packet, not b"),
        (
            lambda packet, now: Send(packet, at=now + 1.5),
            "Send takes its time as int nanoseconds, such as now + 20 * ms",
        ),
        (lambda packet, now: Wake(HALF), "Wake takes its time as int nanoseconds"),
        (lambda packet, now: Wake(NOTHING), "Wake takes its time as int nanoseconds"),
        (lambda packet, now: Drop(Packet(b"new")), "does not hold this packet"),
        (lambda packet, now: [Send(packet), Drop(packet)], "does not hold this packet"),
        (lambda packet, now: 1 // 0, "ZeroDivisionError"),
    ],
)
def test_an_answer_that_makes_no_sense_is_told_and_the_packet_goes_on(answer: Any, message: str) -> None:
    core = Core([answering(answer)])
    assert run(core, udp(1), udp(2)) == [(1, "sent", 0), (2, "sent", 0)]
    assert message in core.failures[0].what
    assert core.failures[0].where.startswith(__file__ + ":")
    assert core.failures[0].where.rpartition(":")[2].isdigit()


# Options of every policy.


def late(packet: Packet, now: int) -> Answer:
    return Send(packet, at=now + 10 * ms)


def test_only_these_classes_are_shaped() -> None:
    policy = answering(late)
    policy.only = frozenset({"syn"})
    core = Core([policy])
    opening = Packet(bytes_of(Look("tcp", 0, SYN, 1), ENDS, 1), 1)
    data = Packet(bytes_of(Look("tcp", 5, ACK, 2, 1), ENDS, 2), 2)
    assert run(core, opening, data) == [(2, "sent", 0), (1, "sent", 10 * ms)]


@pytest.mark.parametrize("scope", ["flow", "connection", "queue"])
@pytest.mark.parametrize(("direction", "shaped"), [("original", {1, 3}), ("reply", {2}), ("both", {1, 2, 3})])
def test_only_this_direction_is_shaped(scope: Any, direction: Any, shaped: set[int]) -> None:
    policy = answering(late)
    policy.scope, policy.direction = scope, direction
    fates = run(Core([policy]), udp(1), udp(2, 0, ENDS.reverse), udp(3))
    assert {number for number, _, planned in fates if planned} == shaped


@pytest.mark.parametrize(("limit", "dropped"), [(Limit(2), {3, 4}), (Limit(None, 76), {3, 4}), (Limit(), set())])
def test_beyond_its_limit_the_tail_is_dropped(limit: Limit, dropped: set[int]) -> None:
    policy = answering(late)
    policy.limit = limit
    core = Core([policy])
    fates = run(core, udp(1), udp(2), udp(3), udp(4), udp(5, 20 * ms))
    assert {number for number, fate, _ in fates if fate == "dropped"} == dropped
    assert (core.overflowed, core.dropped) == (len(dropped), len(dropped))


@pytest.mark.parametrize(("scope", "objects"), [("flow", 4), ("connection", 2), ("queue", 1)])
def test_scope_says_how_many_objects_there_are(scope: Any, objects: int) -> None:
    seen: set[int] = set()

    class Counts(Policy):
        def on_packet(self, packet: Packet, now: int) -> Answer:
            seen.add(id(self))
            return None

    other = Ends("192.0.2.1", 40001, "192.0.2.9", 80)
    run(
        Core([Counts(scope=scope)]),
        *(udp(n, 0, e) for n, e in enumerate((ENDS, ENDS.reverse, other, other.reverse), 1)),
    )
    assert len(seen) == objects


def test_state_is_an_objects_own() -> None:
    class Third(Policy):
        def start(self) -> None:
            self._seen = 0

        def on_packet(self, packet: Packet, now: int) -> Answer:
            self._seen += 1
            return Drop(packet) if self._seen % 3 == 0 else None

    core = Core([Third()])
    run(core, *(udp(n, n, ENDS if n % 2 else ENDS.reverse) for n in range(1, 31)))
    assert core.dropped == 10
    prototype = Third()
    run(Core([prototype]), udp(1))
    assert not hasattr(prototype, "_seen")


# The core as a whole.


def test_packets_say_who_held_them_and_who_dropped_them() -> None:
    core = Core([answering(late), answering(late)])
    core.receive(udp(1), 0)
    (verdict,) = core.due(20 * ms)
    assert verdict.packet.holds == (("test_core", 10 * ms), ("test_core#2", 10 * ms))
    core = Core([answering(lambda packet, now: Drop(packet))])
    core.receive(udp(1), 0)
    assert core.due(0)[0].packet.root.by == "test_core"


def test_stages_of_one_policy_are_numbered() -> None:
    assert stage_names([Policy(), Keeps(), Policy(), Policy()]) == ("policy", "test_core", "policy#2", "policy#3")


def test_a_pipeline_of_header_readers_needs_no_whole_packets() -> None:
    class Reads(Policy):
        needs = "headers"

    assert not Core([Reads(), Reads()]).needs_whole_packets
    assert Core([Reads(), Policy()]).needs_whole_packets
    assert not Core([]).needs_whole_packets


def test_the_deadline_is_the_next_thing_to_do() -> None:
    core = Core([Keeps()], max_hold=30 * ms)
    assert core.next_deadline() is None
    core.receive(udp(1), 0)
    assert core.next_deadline() == 10 * ms
    assert core.due(10 * ms) == []
    assert core.next_deadline() == 30 * ms
    assert len(core.due(30 * ms)) == 1
    assert core.next_deadline() is None


@pytest.mark.parametrize("scope", ["flow", "connection", "queue"])
def test_only_a_share_of_the_connections_is_shaped_in_both_directions(scope: str) -> None:
    class Drops(Policy):
        def on_packet(self, packet: Packet, now: int) -> Answer:
            return Drop(packet)

    def shaped(moved: int, seed: int = 0) -> list[bool]:
        core = Core([Drops(connections=0.3, scope=scope)], seed=seed)
        found = []
        for port in range(2000):
            ends = Ends("192.0.2.1", 1024 + moved + port, "192.0.2.9", 80)
            for packet in (udp(1, ends=ends), udp(2, ends=ends.reverse)):
                core.receive(packet, 0)
            there, back = (verdict.fate for verdict in core.due(0))
            assert there == back
            found.append(there == "dropped")
        return found

    chosen = shaped(0)
    # Five standard errors.
    assert abs(sum(chosen) / 2000 - 0.3) < 5 * (0.3 * 0.7 / 2000) ** 0.5
    # Whatever ports the clients have.
    assert shaped(5000) == chosen
    assert shaped(0, seed=1) != chosen


def test_a_closed_core_makes_no_more_policy_objects() -> None:
    begun = []

    class Begins(Policy):
        def start(self) -> None:
            begun.append(self)

    core = Core([Begins()])
    assert run(core, udp(1)) == [(1, "sent", 0)]
    core.close()
    assert run(core, udp(2, at=1, ends=ENDS._replace(sport=40001))) == [(2, "sent", 1)]
    assert len(begun) == 1
