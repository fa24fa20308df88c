"""The core as a whole: who held a packet, the next deadline, the end."""

from __future__ import annotations

import pytest

from shaper import Answer, Drop, Hold, Packet, Policy, Send, Signal, ms, s
from shaper.core.core import Core
from shaper.core.instances import stage_names
from shaper.spec.load import load
from shaper.timeline.packet_spec import Ends, PacketSpec, bytes_of
from tests.cores import ENDS, Keeps, answering, late, run, udp


def test_packets_say_who_held_them_and_who_dropped_them() -> None:
    core = Core([answering(late), answering(late)])
    core.receive(udp(1), 0)
    (verdict,) = core.due(20 * ms)
    assert verdict.packet.hold_times == (("cores", 10 * ms), ("cores#2", 10 * ms))
    core = Core([answering(lambda packet, now: Drop(packet))])
    core.receive(udp(1), 0)
    assert core.due(0)[0].packet.root.by == "cores"


def test_stages_of_one_policy_are_numbered() -> None:
    assert stage_names([Policy(), Keeps(), Policy(), Policy()]) == ("base", "cores", "base#2", "base#3")


def test_the_deadline_is_the_next_thing_to_do() -> None:
    core = Core([Keeps()], max_hold=30 * ms)
    assert core.next_deadline() is None
    core.receive(udp(1), 0)
    assert core.next_deadline() == 10 * ms
    assert core.due(10 * ms) == []
    assert core.next_deadline() == 30 * ms
    assert len(core.due(30 * ms)) == 1
    assert core.next_deadline() is None


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


def test_close_sends_packets_in_order_of_arrival_whatever_was_planned() -> None:
    delays = {1: 40 * ms, 2: 30 * ms, 3: 20 * ms, 4: 10 * ms}
    core = Core([answering(lambda packet, now: Send(packet, at=now + delays[packet.id]))])
    for number in delays:
        core.receive(udp(number, at=number), number)
    assert [verdict.packet.id for verdict in core.close()] == [1, 2, 3, 4]


def test_a_policy_that_fails_releases_packets_in_order_of_arrival() -> None:
    class HoldsUntilItFails(Policy):
        scope = "queue"

        def on_packet(self, packet: Packet, now: int) -> Answer:
            if packet.id == len(packets):
                raise ValueError("enough")
            return Hold(packet)

    # Arrival, and so what each is called, is the reverse of where the packets are in memory.
    packets = sorted((udp(0) for _ in range(20)), key=id, reverse=True)
    core = Core([HoldsUntilItFails()])
    for number, packet in enumerate(packets, 1):
        packet.id = packet.arrived = number
        core.receive(packet, number)
    assert [verdict.packet.id for verdict in core.due(len(packets))] == list(range(1, len(packets) + 1))


class Draws(Policy):
    """Notes the first draw of each of its objects."""

    drawn: list[float]

    def start(self) -> None:
        self.drawn.append(self.random.random())


def first_draws(scope: str, seed: int) -> list[float]:
    drawn: list[float] = []
    pipeline = [Draws(scope=scope) for _ in range(3)]
    for policy in pipeline:
        policy.drawn = drawn
    core = Core(pipeline, seed=seed)
    core.receive(udp(1), 0)
    return drawn


@pytest.mark.parametrize("scope", ["flow", "connection", "queue"])
def test_stages_of_one_policy_have_fates_of_their_own(scope: str) -> None:
    assert len(set(first_draws(scope, seed=1))) == 3
    assert first_draws(scope, seed=1) == first_draws(scope, seed=1)
    assert not set(first_draws(scope, seed=1)) & set(first_draws(scope, seed=2))


def test_stages_of_one_policy_choose_their_connections_each_for_itself() -> None:
    class Counts(Policy):
        def on_packet(self, packet: Packet, now: int) -> Answer:
            chosen[packet.id].append(self)
            return None

    chosen: dict[int, list[Policy]] = {number: [] for number in range(1, 201)}
    core = Core([Counts(connections=0.5), Counts(connections=0.5)])
    for number in chosen:
        core.receive(udp(number, ends=ENDS._replace(sport=number)), 0)
    assert {len(stages) for stages in chosen.values()} == {0, 1, 2}


def test_what_the_objects_of_a_policy_count_adds_up() -> None:
    class Counts(Policy):
        def on_packet(self, packet: Packet, now: int) -> Answer:
            self.tally("packets")
            self.tally("bytes", packet.length)
            return None

    core = Core([Counts(), Policy()])
    run(core, udp(1), udp(2), udp(3, ends=ENDS.reverse))
    assert core.counters == {"test_core": {"packets": 3, "bytes": 3 * udp(1).length}}


def test_a_signal_for_a_stage_that_is_not_there_names_those_that_are() -> None:
    core = Core([Keeps(), Policy()])
    with pytest.raises(ValueError, match="there is no stage 'loss'; there is cores, base"):
        core.signal("loss", Signal("drained", udp(1).flow), 0)


def test_a_packet_says_what_it_is() -> None:
    packet = udp(7)
    assert repr(packet) == f"<packet 7 unclassified {packet.flow}>"
    Core([]).receive(packet, 0)
    assert repr(packet) == f"<packet 7 udp {packet.flow}>"
    assert repr(Packet(packet.raw)) == f"<packet new unclassified {packet.flow}>"


def test_holds_of_one_policy_in_a_row_count_as_one() -> None:
    packet = udp(1)
    for policy, duration in (("a", 3), ("a", 4), ("b", 5), ("a", 6)):
        packet.note_hold(policy, duration)
    assert packet.hold_times == (("a", 7), ("b", 5), ("a", 6))


def test_fragments_of_other_datagrams_pass_where_the_rules_bring_them_too() -> None:
    ends = Ends("192.0.2.1", 40000, "192.0.2.9", 53)
    looks = [PacketSpec("fragment", 1480, id=5), *(PacketSpec("fragment", 600, id=id, offset=1480) for id in (5, 6))]
    for pass_strays, planned in ((True, [0, 20 * ms, 20 * ms]), (False, [20 * ms] * 3)):
        core = Core([load("delay:20ms")], pass_strays=pass_strays)
        for number, look in enumerate(looks, 1):
            core.receive(Packet(bytes_of(look, ends, number), number), 0)
        verdicts = core.due(1 * s)
        assert [(v.fate, v.planned) for v in verdicts] == [("sent", time) for time in planned]
        assert core.counts.sent == 3
