"""The contract of a policy: times, and Wake."""

from __future__ import annotations

import pytest

from shaper import Answer, Hold, Packet, Policy, Send, Wake, ms
from shaper.core import agenda
from shaper.core.core import Core
from shaper.core.instances import WAKES_IN_A_ROW
from shaper.timeline.packet_spec import bytes_of
from tests.cores import ENDS, UDP, Keeps, answering, run, udp


def test_no_packet_is_held_longer_than_max_hold() -> None:
    core = Core([answering(lambda packet, now: Send(packet, at=now + 1000 * ms))], max_hold=30 * ms)
    assert run(core, udp(1), udp(2, ms)) == [(1, "sent", 30 * ms), (2, "sent", 31 * ms)]
    assert core.counts.cut_short == 2


def test_max_hold_covers_the_whole_pipeline() -> None:
    def late(packet: Packet, now: int) -> Answer:
        return Send(packet, at=now + 20 * ms)

    core = Core([answering(late), answering(late)], max_hold=30 * ms)
    assert run(core, udp(1)) == [(1, "sent", 30 * ms)]
    assert core.counts.cut_short == 1


def test_a_hold_without_end_is_cut_short_and_a_send_after_that_is_in_vain() -> None:
    class Forgets(Keeps):
        def on_packet(self, packet: Packet, now: int) -> Answer:
            self.kept.append(packet)
            return [Hold(packet), Wake(now + 50 * ms)]

        def on_wake(self, now: int) -> Answer:
            return [Send(packet) for packet in self.kept]

    core = Core([Forgets()], max_hold=30 * ms)
    assert run(core, udp(1), udp(2, ms)) == [(1, "sent", 30 * ms), (2, "sent", 31 * ms)]
    assert (core.counts.cut_short, core.failures) == (2, [])


def test_a_time_before_the_last_one_counts_as_that_one() -> None:
    core = Core([answering(lambda packet, now: Send(packet, at=now + 5 * ms))])
    core.receive(udp(1, 10 * ms), 10 * ms)
    core.receive(udp(2, 3 * ms), 3 * ms)
    assert core.due(0) == []
    assert [verdict.planned for verdict in core.due(50 * ms)] == [15 * ms, 15 * ms]


def test_what_is_planned_for_now_goes_before_what_arrives_now() -> None:
    policy = answering(lambda packet, now: Send(packet, at=now + 5 * ms) if packet.id == 1 else None)
    assert run(Core([policy]), udp(1), udp(2, 5 * ms)) == [(1, "sent", 5 * ms), (2, "sent", 5 * ms)]


def test_on_packet_gets_the_time_at_which_the_stage_before_sent() -> None:
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
    assert "test_wake.py:" in core.failures[0].where
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
    assert (core.counts.sent, core.counts.held, core.failures) == (1999, 1, [])
    assert [verdict.packet.id for verdict in core.due(60_000 * ms)] == [2000]


def test_a_wake_that_was_replaced_does_not_come_back_when_its_time_is_asked_for_again() -> None:
    woken: list[str] = []

    class Asks(Policy):
        scope = "queue"
        times: tuple[int, ...] = ()
        label: str = ""

        def on_packet(self, packet: Packet, now: int) -> Wake:
            return Wake(self.times[packet.id - 1])

        def on_wake(self, now: int) -> None:
            woken.append(self.label)

    # A packet goes on before its policy's Wake is planned: so the last stage plans first.
    core = Core([Asks(times=(10, 10, 10), label="steady"), Asks(times=(10, 20, 10), label="wavers")])
    run(core, udp(1), udp(2), udp(3))
    assert woken == ["steady", "wavers"]
