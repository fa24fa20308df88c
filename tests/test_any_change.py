"""Any changes while packets are held: none is lost, and none overtakes those before it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from shaper import Packet, Policy, ms
from shaper.core.change import Change
from shaper.core.core import Core
from shaper.core.verdict import Verdict
from shaper.units import Limit
from shaper.wire.segment import CLASSES
from tests.examples import examples
from tests.test_invariants import MAX_HOLD, Move, Puppet, check, moves, pipelines, told
from tests.traffic import anew, traffic


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
@examples(100)
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
@examples(50)
def test_how_often_the_core_is_asked_makes_no_difference(
    pipeline: list[Puppet], acts: list[Act], packets: list[Packet]
) -> None:
    eager, patient = play(pipeline, anew(packets), acts), play(pipeline, anew(packets), acts, patient=True)
    assert told(eager[1]) == told(patient[1])
    assert eager[0].changes == patient[0].changes


@given(pipelines, acts, traffic())
@examples(50)
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
@examples(50)
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
@examples(50)
def test_a_limit_set_while_packets_are_held_counts_them(some: list[Move], packets: list[Packet]) -> None:
    core = Core([Free(moves=tuple(some), scope="queue")], max_hold=MAX_HOLD)
    half = len(packets) // 2
    for number, packet in enumerate(anew(packets)):
        if number == half:
            core.change("test_any_change", {"limit": Limit(3)}, packet.arrived)
        held = core.counts.held
        core.receive(packet, packet.arrived)
        core.due(packet.arrived)
        if number >= half:
            assert core.counts.held <= max(3, held)
    core.close()
    assert core.counts.held == 0
