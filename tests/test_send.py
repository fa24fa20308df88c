"""The contract of a policy: what Send, Drop and Hold do."""

from __future__ import annotations

import pytest

from shaper import Answer, Drop, Hold, Packet, Policy, Send, Wake, ms
from shaper.core.core import Core
from shaper.timeline.packet_spec import bytes_of
from tests.cores import ENDS, UDP, Keeps, answering, run, udp


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
    assert (core.counts.taken, core.counts.sent, core.counts.injected) == (1, 1, 2)


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
    assert (core.counts.held, core.counts.cut_short) == (0, 0)


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
            seen.append(f"second {packet.kind}")
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
    assert core.counts.cut_short == 0


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
    assert core.counts.cut_short == 1


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
    assert core.counts.dropped == 0


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
