"""A connection that is forgotten takes nothing along that its policies hold, and leaves nothing behind."""

import gc
from typing import Literal
from weakref import WeakSet

import pytest

from shaper import Answer, Hold, Packet, Policy, Send, Wake, ms
from shaper.core import connections
from shaper.core.core import Core
from tests.cores import ENDS, run, udp


class Holds(Policy):
    """Holds the first packet until it is woken, the second for 20 ms."""

    def start(self) -> None:
        self._held: list[Packet] = []

    def on_packet(self, packet: Packet, now: int) -> Answer:
        if packet.id > 2:
            return None
        self._held.append(packet)
        return [Hold(packet), Wake(now + 10 * ms)] if packet.id == 1 else Send(packet, at=now + 20 * ms)

    def on_wake(self, now: int) -> Answer:
        return [Send(packet, at=now + 5 * ms) for packet in self._held]


def test_what_a_forgotten_connection_holds_goes_on_as_planned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "MOST", 8)
    others = [udp(number, number, ENDS._replace(sport=number)) for number in range(3, 100)]
    core = Core([Holds()])
    said = run(core, udp(1), udp(2, ends=ENDS.reverse), *others)
    assert said[-2:] == [(1, "sent", 15 * ms), (2, "sent", 20 * ms)]
    assert core.counts.held == 0


class Known(Policy):
    """Remembers which of its objects there are."""

    there: WeakSet[Policy]

    def start(self) -> None:
        self.there.add(self)


@pytest.mark.parametrize("scope", ["flow", "connection"])
def test_what_is_forgotten_gives_its_memory_back_at_once(
    scope: Literal["flow", "connection"], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "MOST", 8)
    monkeypatch.setattr(Known, "there", WeakSet(), raising=False)
    core = Core([Known(scope=scope)])
    gc.disable()  # nothing refers to itself in a circle, which only the collector would find
    try:
        for number in range(1, 100):
            ends = ENDS._replace(sport=number)
            core.receive(udp(2 * number, number, ends), number)
            core.receive(udp(2 * number + 1, number, ends.reverse), number)
            core.due(number)
    finally:
        gc.enable()
    assert 0 < len(Known.there) <= 2 * 9
