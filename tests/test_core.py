"""The core as a whole: who held a packet, the next deadline, the end."""

from __future__ import annotations

from shaper import Drop, Policy, ms
from shaper.core.core import Core
from shaper.core.instances import stage_names
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
