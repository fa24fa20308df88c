"""Pauses, releases and phases while packets are held."""

from __future__ import annotations

from shaper import Answer, Drop, Hold, Packet, Policy, Send, Wake, ms
from shaper.core.change import Change
from shaper.core.core import Core, Following
from shaper.spec.load import load
from shaper.units import s
from tests.cores import ENDS, run, udp


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
