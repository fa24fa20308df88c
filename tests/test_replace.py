"""Another pipeline while packets are held: none is lost, none overtakes those before it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from shaper import Packet, Policy, Send, Wake, ms
from shaper.core.core import Core, Following
from shaper.core.verdict import Verdict
from shaper.spec.load import load, load_pipeline
from shaper.units import s
from tests.cores import ENDS, Keeps, run, udp
from tests.examples import examples
from tests.test_invariants import MAX_HOLD, Puppet, check, pipelines, play, told
from tests.traffic import anew, traffic

followings = st.lists(
    st.builds(Following, st.sampled_from((0, 1, ms, 7 * ms, 60 * ms, 300 * ms)), pipelines), max_size=4
).map(lambda found: sorted(found, key=lambda following: following.after))


@given(pipelines, followings, traffic())
@examples(100)
def test_each_packet_gets_one_verdict_and_none_overtakes(
    pipeline: list[Puppet], then: list[Following], packets: list[Packet]
) -> None:
    core, verdicts = play(pipeline, anew(packets), then=then)
    check(core, packets, verdicts)
    assert len(core.changes) == (len(then) if packets else 0)
    place = {verdict.packet.root.id: number for number, verdict in enumerate(verdicts)}
    left = {verdict.packet.root.id: verdict.planned for verdict in verdicts}
    dropped = {verdict.packet.root.id for verdict in verdicts if verdict.fate == "dropped"}
    flows = {verdict.packet.root.id: verdict.packet.flow_state for verdict in verdicts}
    for at, taken, *_ in core.changes:
        held = [packet.id for packet in packets[:taken] if left[packet.id] > at]
        for later in (packet.id for packet in packets[taken:] if packet.id not in dropped):
            assert all(place[each] < place[later] for each in held if flows[each] is flows[later])


@given(pipelines, followings, traffic())
@examples(50)
def test_how_often_the_core_is_asked_makes_no_difference(
    pipeline: list[Puppet], then: list[Following], packets: list[Packet]
) -> None:
    _, eager = play(pipeline, anew(packets), then=then)
    _, patient = play(pipeline, anew(packets), then=then, patient=True)
    assert told(eager) == told(patient)


@given(pipelines, pipelines, traffic(), st.data())
@examples(50)
def test_close_lets_all_go(
    pipeline: list[Puppet], following: list[Puppet], packets: list[Packet], data: st.DataObject
) -> None:
    if not packets:
        return
    at = data.draw(st.integers(1, len(packets)))
    core = Core(pipeline, seed=1, max_hold=MAX_HOLD)
    verdicts: list[Verdict] = []
    for number, packet in enumerate(anew(packets), 1):
        core.receive(packet, packet.arrived)
        if number == at:
            core.replace(following, packet.arrived)
        verdicts += core.due(packet.arrived)
    check(core, packets, verdicts + core.close())


def test_later_packets_wait_for_those_held_before() -> None:
    core = Core([load("delay:100ms")], then=[Following(50 * ms, [load("delay:10ms")])])
    assert run(core, udp(1), udp(2, 40 * ms), udp(3, 60 * ms), udp(4, 135 * ms)) == [
        (1, "sent", 100 * ms),
        (2, "sent", 140 * ms),
        (3, "sent", 140 * ms),  # due at 70 ms
        (4, "sent", 145 * ms),
    ]


def test_the_wait_is_noted_as_a_hold() -> None:
    core, packet = Core([load("delay:100ms")]), udp(2, 50 * ms)
    core.receive(udp(1), 0)
    core.replace([load("delay:10ms")], 20 * ms)
    core.receive(packet, 50 * ms)
    assert [verdict.packet.id for verdict in core.due(s)] == [1, 2]
    assert packet.hold_times == (("delay", 10 * ms), ("change", 40 * ms))


def test_other_flows_do_not_wait() -> None:
    core = Core([load("delay:100ms")], then=[Following(50 * ms, [load("pass_through")])])
    assert run(core, udp(1), udp(2, 60 * ms, ENDS._replace(sport=7))) == [(2, "sent", 60 * ms), (1, "sent", 100 * ms)]


def test_held_packets_go_through_the_rest_of_their_own_pipeline() -> None:
    core = Core([load("delay:10ms"), load("delay:20ms")], then=[Following(5 * ms, [])])
    assert run(core, udp(1), udp(2, 6 * ms)) == [(1, "sent", 30 * ms), (2, "sent", 30 * ms)]


def test_a_policy_that_was_replaced_is_woken_only_for_packets_that_it_holds() -> None:
    woken: list[int] = []

    class Wakes(Keeps):
        def on_wake(self, now: int) -> list[Send | Wake]:
            woken.append(now)
            return [*map(Send, self.kept), Wake(now + 10 * ms)]

    core = Core([Wakes()], then=[Following(5 * ms, [Policy()])])
    assert run(core, udp(1), udp(2, 50 * ms)) == [(1, "sent", 10 * ms), (2, "sent", 50 * ms)]
    assert woken == [10 * ms]


def test_three_pipelines_at_once() -> None:
    then = [Following(1 * ms, [load("delay:50ms")]), Following(2 * ms, [load("delay:10ms")])]
    core = Core([load("delay:100ms")], then=then)
    assert run(core, udp(1), udp(2, 1 * ms), udp(3, 2 * ms)) == [(n, "sent", 100 * ms) for n in (1, 2, 3)]


def test_counters_of_stages_with_the_same_name_go_on() -> None:
    then = [Following(1 * ms, load_pipeline(["delay:1ms", "loss:packets=1"]))]
    core = Core(load_pipeline(["loss:packets=1"]), then=then)
    run(core, udp(1), udp(2, 2 * ms))
    assert {name: use.dropped for name, use in core.stages.items()} == {"loss": 2, "delay": 0}


def test_times_count_from_the_first_packet() -> None:
    core = Core([Policy()], then=[Following(10 * ms, [load("delay:5ms")])])
    assert core.next_deadline() is None
    assert core.due(s) == []
    assert run(core, udp(1, 2 * s), udp(2, 2 * s + 9 * ms), udp(3, 2 * s + 10 * ms)) == [
        (1, "sent", 2 * s),
        (2, "sent", 2 * s + 9 * ms),
        (3, "sent", 2 * s + 15 * ms),
    ]
    assert [(each.at, each.taken) for each in core.changes] == [(2 * s + 10 * ms, 2)]
