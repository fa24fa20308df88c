"""Changes while packets are held: none is lost, none overtakes those before it, and each object keeps its state."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, Literal, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shaper import Answer, Drop, Duration, Hold, Packet, Policy, Send, Wake, ms
from shaper.core.change import Change, ChangeError
from shaper.core.core import Core, Following
from shaper.core.verdict import Verdict
from shaper.spec.load import LoadError, format_options, load, load_pipeline, parse_options
from shaper.units import Limit, s
from shaper.wire.segment import CLASSES
from tests.cores import ENDS, run, udp
from tests.test_invariants import MAX_HOLD, Move, Puppet, check, moves, pipelines, told
from tests.traffic import anew, traffic

Said = list[tuple[int, str, int]]


class Act(NamedTuple):
    """A change by hand: after how many packets, how long after the last of them, and which."""

    after: int
    later: int
    what: str
    stage: int
    values: dict[str, Any]
    pipeline: Sequence[Policy]


values = st.fixed_dictionaries(
    {},
    optional={
        "moves": st.lists(moves, min_size=1, max_size=6).map(tuple),
        "direction": st.sampled_from(("original", "reply", "both")),
        "only": st.sets(st.sampled_from(CLASSES), min_size=1).map(frozenset),
        "connections": st.sampled_from((0.0, 0.5, 1.0)),
        "limit": st.sampled_from((Limit(), Limit(2), Limit(None, 500))),
    },
)
acts = st.lists(
    st.builds(
        Act,
        st.integers(0, 60),
        st.sampled_from((0, 0, 1, 2 * ms, 40 * ms)),
        st.sampled_from(("change", "change", "change", "replace", "pause", "resume", "release")),
        st.integers(0, 2),
        values,
        pipelines,
    ),
    max_size=8,
).map(lambda found: sorted(found, key=lambda act: (act.after, act.later)))


def do(core: Core, act: Act, now: int) -> None:
    if act.what == "change" and core.names:
        core.change(core.names[act.stage % len(core.names)], act.values, now)
    elif act.what == "replace":
        core.replace(act.pipeline, now)
    elif act.what != "change":
        {"pause": core.pause, "resume": core.resume, "release": core.release}[act.what](now)


def play(
    pipeline: Sequence[Policy], packets: list[Packet], acts: Sequence[Act], *, patient: bool = False
) -> tuple[Core, list[Verdict]]:
    """All packets and acts through a core; if patient, it is asked for what is due only at the end."""
    core = Core(pipeline, seed=1, max_hold=MAX_HOLD)
    verdicts: list[Verdict] = []
    ahead, now = list(acts), 0

    def ask(until: int) -> None:
        while not patient and (deadline := core.next_deadline()) is not None and deadline < until:
            verdicts.extend(core.due(deadline))

    for number in range(len(packets) + 1):
        while ahead and (ahead[0].after <= number or number == len(packets)):
            act = ahead.pop(0)
            until = packets[number].arrived if number < len(packets) else now + act.later
            now = max(now, min(now + act.later, until))
            ask(now)
            do(core, act, now)
        if number < len(packets):
            now = packets[number].arrived
            ask(now)
            core.receive(packets[number], now)
    while (deadline := core.next_deadline()) is not None:
        verdicts += core.due(deadline)
    return core, verdicts + core.due(now)


@given(pipelines, acts, traffic())
@settings(max_examples=400, deadline=None)
def test_whatever_is_changed_each_packet_gets_one_verdict_in_turn(
    pipeline: list[Puppet], acts: list[Act], packets: list[Packet]
) -> None:
    core, verdicts = play(pipeline, anew(packets), acts)
    check(core, packets, verdicts)
    place = {verdict.packet.root.id: number for number, verdict in enumerate(verdicts)}
    left = {verdict.packet.root.id: verdict.planned for verdict in verdicts}
    dropped = {verdict.packet.root.id for verdict in verdicts if verdict.fate == "dropped"}
    flows = {verdict.packet.root.id: verdict.packet.flow_state for verdict in verdicts}
    for change in core.changes:
        held = [packet.id for packet in packets[: change.taken] if left[packet.id] > change.at]
        assert change.what != "release" or not held
        for later in (packet.id for packet in packets[change.taken :] if packet.id not in dropped):
            assert all(place[each] < place[later] for each in held if flows[each] is flows[later])
    for verdict in paused(core.changes, verdicts):
        assert verdict.fate == "sent"
        assert not verdict.rewritten
        assert {policy for policy, _ in verdict.packet.hold_times} <= {"change"}


def paused(changes: Sequence[Change], verdicts: Sequence[Verdict]) -> list[Verdict]:
    """The verdicts on packets that were taken during a pause."""
    bounds = [change.taken for change in changes if change.what in ("pause", "resume")]
    bounds += [1 << 30] * (len(bounds) % 2)
    spans = list(zip(bounds[::2], bounds[1::2], strict=True))
    return [v for v in verdicts if any(begin < v.packet.root.id <= end for begin, end in spans)]


@given(pipelines, acts, traffic())
@settings(max_examples=200, deadline=None)
def test_how_often_the_core_is_asked_makes_no_difference(
    pipeline: list[Puppet], acts: list[Act], packets: list[Packet]
) -> None:
    eager, patient = play(pipeline, anew(packets), acts), play(pipeline, anew(packets), acts, patient=True)
    assert told(eager[1]) == told(patient[1])
    assert eager[0].changes == patient[0].changes


@given(pipelines, acts, traffic())
@settings(max_examples=100, deadline=None)
def test_close_lets_all_go(pipeline: list[Puppet], acts: list[Act], packets: list[Packet]) -> None:
    core = Core(pipeline, seed=1, max_hold=MAX_HOLD)
    verdicts: list[Verdict] = []
    for number, packet in enumerate(anew(packets)):
        core.receive(packet, packet.arrived)
        for act in acts:
            if act.after == number:
                do(core, act, packet.arrived)
        verdicts += core.due(packet.arrived)
    check(core, packets, verdicts + core.close())


class Free(Puppet):
    """A puppet after whose changes later packets may overtake."""

    order: Literal["free"] = "free"


@given(moves, pipelines, traffic(), acts)
@settings(max_examples=100, deadline=None)
def test_the_same_values_again_change_nothing(
    move: Move, pipeline: list[Puppet], packets: list[Packet], acts: list[Act]
) -> None:
    stages = [Free(moves=(move,)), *pipeline]
    same = [act._replace(what="change", stage=0, values={"moves": (move,)}) for act in acts]
    core, verdicts = play(stages, anew(packets), same)
    assert told(verdicts) == told(play(stages, anew(packets), [])[1])
    assert len(core.changes) == len(acts)


@given(
    st.lists(
        st.builds(Move, st.sampled_from(("send", "hold")), st.sampled_from((0, 7 * ms, 90 * ms)), st.integers(0, 3)),
        min_size=1,
        max_size=6,
    ),
    traffic(),
)
@settings(max_examples=100, deadline=None)
def test_a_limit_set_while_packets_are_held_counts_them(some: list[Move], packets: list[Packet]) -> None:
    core = Core([Free(moves=tuple(some), scope="queue")], max_hold=MAX_HOLD)
    half = len(packets) // 2
    for number, packet in enumerate(anew(packets)):
        if number == half:
            core.change("test_change", {"limit": Limit(3)}, packet.arrived)
        held = core.counts.held
        core.receive(packet, packet.arrived)
        core.due(packet.arrived)
        if number >= half:
            assert core.counts.held <= max(3, held)
    core.close()
    assert core.counts.held == 0


# One change at a time, exactly.


class Counts(Policy):
    """Delays by `time`, and counts its packets; holds the first."""

    time: Duration = 100 * ms

    def start(self) -> None:
        self.told: list[Collection[str]] = []
        self.seen = 0

    def on_change(self, changed: Collection[str]) -> None:
        self.told.append(set(changed))
        if self.time < 0:
            raise ValueError("time goes forward")

    def on_packet(self, packet: Packet, now: int) -> Answer:
        self.seen += 1
        OBJECTS[id(self)] = self
        return Send(packet, at=now + self.time)


OBJECTS: dict[int, Counts] = {}


@pytest.fixture(autouse=True)
def _no_objects() -> None:
    OBJECTS.clear()


def time_of(core: Core) -> object:
    """The option `time` of the first stage."""
    return vars(core.prototypes[0]).get("time", type(core.prototypes[0]).__dict__.get("time"))


def with_change(
    pipeline: Sequence[Policy], *arrivals: Packet, at: int, then: Callable[[Core, int], None]
) -> tuple[Core, Said]:
    core = Core(pipeline)
    before = [packet for packet in arrivals if packet.arrived < at]
    said = []
    for packet in before:
        core.receive(packet, packet.arrived)
        said += [(v.packet.root.id, v.fate, v.planned) for v in core.due(packet.arrived)]
    then(core, at)
    said += [(v.packet.root.id, v.fate, v.planned) for v in core.due(at)]
    return core, said + run(core, *arrivals[len(before) :])


def test_held_packets_keep_their_plan_and_go_first() -> None:
    core, said = with_change(
        [load("delay:100ms")],
        *(udp(1), udp(2, 40 * ms), udp(3, 60 * ms), udp(4, 60 * ms, ENDS._replace(sport=7)), udp(5, 135 * ms)),
        at=50 * ms,
        then=lambda core, now: core.change("delay", {"time": 10 * ms}, now, {"time": "10ms"}),
    )
    assert said == [
        (4, "sent", 70 * ms),  # another flow doesn't wait
        (1, "sent", 100 * ms),
        (2, "sent", 140 * ms),
        (3, "sent", 140 * ms),  # due at 70 ms
        (5, "sent", 145 * ms),
    ]
    assert core.changes == [Change(50 * ms, 2, "change", stage="delay", options={"time": "10ms"})]
    assert time_of(core) == 10 * ms


def test_with_order_free_later_packets_may_overtake() -> None:
    _, said = with_change(
        [load("delay:100ms,order=free")],
        *(udp(1), udp(2, 60 * ms)),
        at=50 * ms,
        then=lambda core, now: core.change("delay", {"time": 10 * ms}, now),
    )
    assert said == [(2, "sent", 70 * ms), (1, "sent", 100 * ms)]


def test_order_free_takes_effect_with_the_change_that_sets_it() -> None:
    _, said = with_change(
        [load("delay:100ms")],
        *(udp(1), udp(2, 60 * ms)),
        at=50 * ms,
        then=lambda core, now: core.change("delay", {"time": 10 * ms, "order": "free"}, now),
    )
    assert said == [(2, "sent", 70 * ms), (1, "sent", 100 * ms)]


def test_an_object_goes_on_and_is_told_once_of_all_that_was_changed() -> None:
    core = Core([Counts()])
    run(core, udp(1), until=0)
    core.change("test_change", {"time": 5 * ms}, 1)
    core.change("test_change", {"time": 6 * ms, "only": frozenset(("udp",))}, 2)
    assert run(core, udp(2, 3), udp(3, 4)) == [
        (1, "sent", 100 * ms),
        (2, "sent", 100 * ms),
        (3, "sent", 100 * ms),
    ]
    (counts,) = OBJECTS.values()
    assert (counts.seen, counts.told) == (3, [{"time", "only"}])


def test_objects_made_after_a_change_have_its_values_and_are_not_told() -> None:
    core = Core([Counts()])
    core.change("test_change", {"time": 5 * ms}, 0)
    assert run(core, udp(1)) == [(1, "sent", 5 * ms)]
    (counts,) = OBJECTS.values()
    assert counts.told == []


def test_an_object_is_told_before_its_wake() -> None:
    class Wakes(Counts):
        def on_packet(self, packet: Packet, now: int) -> Answer:
            self._kept = packet
            OBJECTS[id(self)] = self
            return [Hold(packet), Wake(now + 10 * ms)]

        def on_wake(self, now: int) -> Answer:
            return Send(self._kept, at=now + self.time)

    core = Core([Wakes()])
    run(core, udp(1), until=0)
    core.change("test_change", {"time": 5 * ms}, 1)
    assert run(core) == [(1, "sent", 15 * ms)]


@pytest.mark.parametrize(
    ("stage", "values", "why"),
    [
        ("loss", {}, "there is no stage 'loss'; there is test_change, delay, delay#2"),
        ("delay#2", {"tme": 1}, "delay#2 has no option 'tme'; it has time, jitter"),
        ("delay", {"scope": "queue"}, "delay: scope can't be changed while packets flow; replace the pipeline instead"),
        ("test_change", {"time": -1}, "test_change: time goes forward"),
    ],
)
def test_what_is_refused_changes_nothing(stage: str, values: dict[str, Any], why: str) -> None:
    core = Core([Counts(), load("delay:10ms"), load("delay:20ms")])
    with pytest.raises(ChangeError) as error:
        core.change(stage, values, 0)
    assert str(error.value).startswith(why)
    assert (core.changes, core.failures) == ([], [])
    assert time_of(core) == 100 * ms
    assert run(core, udp(1)) == [(1, "sent", 130 * ms)]
    (counts,) = OBJECTS.values()
    assert counts.told == []


def test_a_hook_that_raises_anything_else_refuses_too_and_says_where() -> None:
    class Faulty(Policy):
        def on_change(self, changed: Collection[str]) -> None:
            raise RuntimeError("broken")

    core = Core([Faulty()])
    with pytest.raises(ChangeError, match=r"test_change failed at .*test_change.py:\d+: RuntimeError: broken"):
        core.change("test_change", {"only": frozenset(("udp",))}, 0)
    assert core.failures == []


def test_an_object_whose_hook_raises_later_fails_open() -> None:
    class Later(Counts):
        def on_change(self, changed: Collection[str]) -> None:
            if self.seen:
                raise RuntimeError("only with packets")

    core = Core([Later(), load("delay:1ms")])
    run(core, udp(1), until=0)
    core.change("test_change", {"time": 5 * ms}, 0)
    assert run(core, udp(2), udp(3, 0, ENDS._replace(sport=7))) == [
        (3, "sent", 6 * ms),  # a flow without an object so far
        (1, "sent", 101 * ms),
        (2, "sent", 101 * ms),
    ]
    assert [failure.what for failure in core.failures] == ["RuntimeError: only with packets"]


def test_the_same_scope_is_no_change_of_scope() -> None:
    core = Core([load("delay:10ms")])
    core.change("delay", {"scope": "flow", "time": 1 * ms}, 0)
    assert run(core, udp(1)) == [(1, "sent", 1 * ms)]


def test_selection_is_changed() -> None:
    core = Core([load("loss:100%")])
    assert run(core, udp(1)) == [(1, "dropped", 0)]
    core.change("loss", {"only": frozenset(("data",))}, 0)
    assert run(core, udp(2)) == [(2, "sent", 0)]
    core.change("loss", {"only": frozenset(CLASSES), "direction": "reply"}, 0)
    assert run(core, udp(3), udp(4, 0, ENDS.reverse)) == [(3, "sent", 0), (4, "dropped", 0)]


def test_the_share_of_connections_is_changed_for_those_that_are_open() -> None:
    core = Core([Counts(connections=0.0)])
    assert run(core, udp(1)) == [(1, "sent", 0)]
    core.change("test_change", {"connections": 1.0}, 0)
    assert run(core, udp(2), until=0) == []
    core.change("test_change", {"connections": 0.0}, 1)
    assert run(core, udp(3, 1), until=1) == []  # its turn comes after the one that is held
    assert run(core) == [(2, "sent", 100 * ms), (3, "sent", 100 * ms)]
    core.change("test_change", {"connections": 1.0, "time": 0}, s)
    assert run(core, udp(4, s)) == [(4, "sent", s)]


def test_a_limit_is_removed_and_set_again() -> None:
    core = Core([load("delay:10ms,limit=1,scope=queue")])
    assert run(core, udp(1), udp(2), until=0) == [(2, "dropped", 0)]
    core.change("delay", {"limit": Limit()}, 0)
    assert run(core, udp(3), until=0) == []
    core.change("delay", {"limit": Limit(2)}, 0)
    assert run(core, udp(4), until=0) == [(4, "dropped", 0)]
    assert run(core, udp(5, 10 * ms)) == [(1, "sent", 10 * ms), (3, "sent", 10 * ms), (5, "sent", 20 * ms)]


def test_paused_packets_pass_at_once_behind_those_that_are_held() -> None:
    core = Core([load("delay:100ms"), load("loss:packets=2")])
    run(core, udp(1), until=0)
    core.pause(10 * ms)
    core.pause(11 * ms)
    assert core.is_paused
    other = ENDS._replace(sport=7)
    assert run(core, udp(2, 20 * ms), udp(3, 20 * ms, other), until=20 * ms) == [(3, "sent", 20 * ms)]
    assert run(core) == [(1, "sent", 100 * ms), (2, "sent", 100 * ms)]
    core.resume(s)
    core.resume(s)
    assert not core.is_paused
    # The object is the one from before the pause: it has seen one packet.
    assert run(core, udp(4, s)) == [(4, "dropped", s + 100 * ms)]
    assert [(change.what, change.at, change.taken) for change in core.changes] == [
        ("pause", 10 * ms, 1),
        ("resume", s, 3),
    ]


def test_after_a_pause_packets_wait_for_those_that_passed() -> None:
    core = Core([load("delay:100ms")])
    run(core, udp(1), until=0)
    core.pause(1)
    run(core, udp(2, 2), until=2)
    core.change("delay", {"time": 1 * ms}, 3)
    core.resume(3)
    assert run(core, udp(3, 4)) == [(1, "sent", 100 * ms), (2, "sent", 100 * ms), (3, "sent", 100 * ms)]


def test_held_packets_meet_the_rest_of_the_pipeline_in_a_pause() -> None:
    core = Core([load("delay:10ms"), load("delay:20ms")])
    run(core, udp(1), until=0)
    core.pause(5 * ms)
    assert run(core) == [(1, "sent", 30 * ms)]


def test_phases_go_on_in_a_pause() -> None:
    core = Core([load("delay:10ms")], then=[Following(50 * ms, [load("delay:20ms")])])
    run(core, udp(1), until=0)
    core.pause(1 * ms)
    assert run(core, udp(2, 60 * ms)) == [(1, "sent", 10 * ms), (2, "sent", 60 * ms)]
    core.resume(70 * ms)
    assert run(core, udp(3, 80 * ms)) == [(3, "sent", 100 * ms)]
    assert [(change.what, change.at) for change in core.changes] == [
        ("pause", 1 * ms),
        ("replace", 50 * ms),
        ("resume", 70 * ms),
    ]


def test_a_change_holds_until_the_next_phase() -> None:
    core = Core([load("delay:10ms")], then=[Following(50 * ms, [load("delay:10ms")])])
    run(core, udp(1), until=0)
    core.change("delay", {"time": 1 * ms}, 20 * ms)
    assert run(core, udp(2, 30 * ms), udp(3, 60 * ms))[1:] == [(2, "sent", 31 * ms), (3, "sent", 70 * ms)]


def test_a_pipeline_by_hand_ends_the_scenario() -> None:
    core = Core([load("delay:10ms")], then=[Following(50 * ms, [load("delay:20ms")])])
    run(core, udp(1), until=0)
    core.replace([load("delay:1ms")], 20 * ms, ("delay:1ms",))
    assert [verdict.planned for verdict in core.due(20 * ms)] == [10 * ms]
    assert core.next_deadline() is None
    assert run(core, udp(2, 60 * ms)) == [(2, "sent", 61 * ms)]
    assert core.changes == [Change(20 * ms, 1, "replace", ("delay:1ms",))]


def test_a_phase_whose_time_has_come_begins_before_a_change_by_hand() -> None:
    core = Core([load("delay:10ms")], then=[Following(50 * ms, [load("loss:0%"), load("delay:20ms")])])
    run(core, udp(1), until=0)
    core.change("loss", {"probability": 1.0}, 50 * ms)
    assert [change.what for change in core.changes] == ["replace", "change"]


def test_released_packets_go_at_once_in_order_of_arrival() -> None:
    class Stack(Policy):
        """Holds all, and would send the last one first."""

        scope = "queue"

        def start(self) -> None:
            self.kept: list[Packet] = []

        def on_packet(self, packet: Packet, now: int) -> Answer:
            self.kept.append(packet)
            return [Hold(packet), Wake(50 * ms)]

        def on_wake(self, now: int) -> Answer:
            return [*map(Send, reversed(self.kept[1:])), Drop(self.kept[0])]

    core = Core([load("delay:10ms"), Stack(), load("loss:100%")])
    run(core, udp(1), udp(2, 5 * ms), udp(3, 11 * ms), until=12 * ms)
    assert core.counts.held == 3
    core.release(18 * ms)
    assert core.counts.held == 0
    assert run(core, udp(4, 19 * ms)) == [
        *((number, "sent", 18 * ms) for number in (1, 2, 3)),
        (4, "dropped", 50 * ms),
    ]
    assert (core.failures, core.counts.cut_short, core.counts.held) == ([], 0, 0)
    assert core.changes == [Change(18 * ms, 3, "release")]


def test_packets_that_wait_their_turn_are_released_too() -> None:
    core = Core([load("delay:100ms")])
    run(core, udp(1), until=0)
    core.change("delay", {"time": 1 * ms}, 1)
    packet = udp(2, 10 * ms)
    run(core, packet, until=20 * ms)
    core.release(30 * ms)
    assert run(core, udp(3, 31 * ms)) == [(1, "sent", 30 * ms), (2, "sent", 30 * ms), (3, "sent", 32 * ms)]
    assert packet.hold_times == (("delay", 1 * ms), ("change", 19 * ms))


def test_a_stage_counts_what_it_held_and_made() -> None:
    core = Core(load_pipeline(["delay:10ms", "duplicate:100%", "delay:20ms", "loss:packets=1"]))
    run(core, udp(1), udp(2))
    uses = {name: (use.held, use.injected, use.dropped, use.touched) for name, use in core.stages.items()}
    assert uses == {
        "delay": (2, 0, 0, True),
        "duplicate": (0, 2, 0, True),
        "delay#2": (4, 0, 0, True),
        "loss": (0, 0, 1, True),
    }


def test_a_packet_that_is_held_and_then_delayed_by_the_same_policy_counts_once() -> None:
    class Both(Policy):
        def on_packet(self, packet: Packet, now: int) -> Answer:
            self.kept = packet
            return [Hold(packet), Wake(now + 10 * ms)]

        def on_wake(self, now: int) -> Answer:
            return Send(self.kept, at=now + 5 * ms)

    core = Core([Both()])
    run(core, udp(1))
    assert core.stages["test_change"].held == 1


def test_options_are_parsed_and_formatted() -> None:
    delay = load("delay:10ms")
    assert parse_options(delay, {"time": "50ms", "limit": "10"}) == {"time": 50 * ms, "limit": Limit(10)}
    formatted = format_options(delay)
    assert (formatted["time"], formatted["order"], formatted["scope"]) == ("10ms", "keep", "flow")
    assert parse_options(delay, {"limit": formatted["limit"]}) == {"limit": Limit()}


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"tme": "1ms"}, "delay has no option 'tme' (did you mean 'time'?); it has time, jitter"),
        ({"time": "soon"}, "delay: option time: "),
        ({"time": "11s"}, "delay: time=11s is longer than any packet may be held; lower it, or raise --max-hold"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, str], why: str) -> None:
    with pytest.raises(LoadError) as error:
        parse_options(load("delay:10ms"), options)
    assert str(error.value).startswith(why)
