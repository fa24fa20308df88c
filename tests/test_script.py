"""Scripts: policies written as a story, in virtual time."""

import struct

import pytest

from shaper import Duration, Packet, Script, Stream, ms
from shaper.core.core import Core
from shaper.core.verdict import Verdict


class Spread(Script):
    gap: Duration = 10 * ms

    async def story(self, flow: Stream) -> None:
        async for packet in flow:
            flow.send(packet)
            await flow.sleep(self.gap)


class SwapPairs(Script):
    """Each second packet overtakes the first, if it comes within 5 ms."""

    async def story(self, flow: Stream) -> None:
        async for first in flow:
            flow.hold(first)
            second = await flow.receive(timeout=5 * ms)
            if second is not None:
                flow.send(second)
            flow.send(first)


class OnlyThree(Script):
    async def story(self, flow: Stream) -> None:
        for _ in range(3):
            packet = await flow.receive()
            assert packet is not None
            flow.drop(packet)


class Silent(Script):
    async def story(self, flow: Stream) -> None:
        async for _ in flow:
            pass


class Breaks(Script):
    async def story(self, flow: Stream) -> None:
        async for packet in flow:
            flow.hold(packet)
            await flow.sleep(ms)
            raise RuntimeError("out of ideas")


def udp(sport: int = 4000) -> bytes:
    addresses = b"\x7f\0\0\1\x7f\0\0\2"
    return struct.pack("!BBHHHBBH8sHHHH", 0x45, 0, 29, 0, 0, 64, 17, 0, addresses, sport, 53, 9, 0) + b"x"


def run(core: Core, *arrivals: int) -> list[tuple[int, str, int]]:
    """What happened to one packet per arrival (ms): (number, fate, ms)."""
    verdicts: list[Verdict] = []
    for number, at in enumerate(arrivals, 1):
        core.receive(Packet(udp(), number, at * ms), at * ms)
        verdicts += core.due(at * ms)
    while (deadline := core.next_deadline()) is not None:
        verdicts += core.due(deadline)
    return [(verdict.packet.root.id, verdict.fate, verdict.planned // ms) for verdict in verdicts]


def test_packets_wait_while_the_story_sleeps() -> None:
    assert run(Core([Spread()]), 0, 0, 0, 50) == [
        (1, "sent", 0),
        (2, "sent", 10),
        (3, "sent", 20),
        (4, "sent", 50),
    ]


def test_receive_gives_up_after_its_timeout() -> None:
    assert run(Core([SwapPairs()]), 0, 3, 10, 40) == [
        (2, "sent", 3),
        (1, "sent", 3),
        (3, "sent", 15),
        (4, "sent", 45),
    ]


def test_a_story_that_has_ended_lets_everything_pass() -> None:
    fates = [fate for _, fate, _ in run(Core([OnlyThree()]), 0, 1, 2, 3, 4)]
    assert fates == ["dropped", "dropped", "dropped", "sent", "sent"]


def test_a_packet_without_a_word_goes_on_when_the_next_is_asked_for() -> None:
    assert run(Core([Silent()]), 0, 1) == [(1, "sent", 0), (2, "sent", 1)]


def test_a_story_that_raises_fails_open() -> None:
    core = Core([Breaks()])
    assert run(core, 0, 0, 5) == [(1, "sent", 1), (2, "sent", 1), (3, "sent", 5)]
    assert "RuntimeError: out of ideas" in str(core.failures[0])
    assert "test_script.py:" in core.failures[0].where


@pytest.mark.parametrize("policy", [Spread(), SwapPairs(), Silent()])
def test_flows_have_stories_of_their_own(policy: Script) -> None:
    core = Core([policy])
    for number, sport in enumerate((1000, 2000), 1):
        core.receive(Packet(udp(sport), number), 0)
    core.due(10 * ms)
    assert core.counts.held == 0


class Plans(Script):
    """Plans each packet 5 ms later, and stops after the second."""

    async def story(self, flow: Stream) -> None:
        for _ in range(2):
            packet = await flow.receive()
            assert packet is not None
            flow.send(packet, flow.now + 5 * ms)


def test_a_story_plans_and_a_repeated_send_is_a_duplicate() -> None:
    class Twice(Plans):
        async def story(self, flow: Stream) -> None:
            async for packet in flow:
                flow.send(packet)
                flow.send(packet, flow.now + 5 * ms)

    assert run(Core([Twice()]), 0) == [(1, "sent", 0), (0, "injected", 5)]


def test_after_its_end_a_story_holds_nothing() -> None:
    assert run(Core([Plans()]), 0, 1, 2, 3) == [(3, "sent", 2), (4, "sent", 3), (1, "sent", 5), (2, "sent", 6)]


def test_what_waits_when_a_story_ends_goes_on_in_order() -> None:
    class Leaves(Script):
        async def story(self, flow: Stream) -> None:
            await flow.receive()
            await flow.sleep(10 * ms)

    assert run(Core([Leaves()]), 0, 1, 2) == [(1, "sent", 10), (2, "sent", 10), (3, "sent", 10)]
