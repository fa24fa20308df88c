"""The core in virtual time: when it ends."""

from shaper import Packet, Policy, Send, Wake, ms, s
from shaper.core.core import Core
from shaper.core.virtual import play
from tests.cores import udp


class Ticking(Policy):
    """Holds every packet for 10 ms, and wakes every 30 ms for ever to send a packet of its own."""

    def on_packet(self, packet: Packet, now: int) -> tuple[Send, Wake]:
        self._raw = packet.raw
        return Send(packet, at=now + 10 * ms), Wake(now + 30 * ms)

    def on_wake(self, now: int) -> tuple[Send, Wake]:
        return Send(Packet(self._raw)), Wake(now + 30 * ms)


def times(*, rest: int | None = None, stops_empty: bool = False) -> list[int]:
    core = Core([Ticking()], max_hold=s)
    return [verdict.planned // ms for verdict in play(core, [udp(1)], rest=rest, stops_empty=stops_empty)]


def test_a_policy_may_wake_for_as_long_as_a_packet_may_be_held() -> None:
    assert times() == [10, *range(30, 1000, 30)]


def test_the_rest_after_the_last_packet_can_be_shorter() -> None:
    assert times(rest=70 * ms) == [10, 30, 60]


def test_it_can_end_when_no_packet_is_held() -> None:
    assert times(stops_empty=True) == [10]


def test_a_packet_that_arrived_before_its_predecessor_is_received_with_it() -> None:
    verdicts = play(Core([]), [udp(1, 5 * ms), udp(2, 2 * ms)])
    assert [(verdict.packet.id, verdict.planned) for verdict in verdicts] == [(1, 5 * ms), (2, 5 * ms)]
