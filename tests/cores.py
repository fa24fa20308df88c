"""Packets for a core, and what becomes of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from shaper import Answer, Hold, Packet, Policy, Send, Wake, ms
from shaper.core.core import Core
from shaper.timeline.packet_spec import Ends, PacketSpec, bytes_of

ENDS = Ends("192.0.2.1", 40000, "192.0.2.9", 80)
UDP = PacketSpec("udp", 10)
Said = list[tuple[int, str, int]]
# What a policy without type checks may say.
HALF: Any = 0.5
NOTHING: Any = None


def udp(number: int, at: int = 0, ends: Ends = ENDS) -> Packet:
    return Packet(bytes_of(UDP, ends, number), number, at)


def run(core: Core, *arrivals: Packet, until: int | None = None) -> Said:
    """What becomes of the packets: (number, fate, planned time), in order."""
    verdicts = []
    for packet in arrivals:
        core.receive(packet, packet.arrived)
        verdicts += core.due(packet.arrived)
    while (deadline := core.next_deadline()) is not None and (until is None or deadline <= until):
        verdicts += core.due(deadline)
    return [(verdict.packet.root.id, verdict.fate, verdict.planned) for verdict in verdicts]


def answering(answer: Callable[[Packet, int], Any]) -> Policy:
    """A policy that gives this answer to every packet."""

    class Answers(Policy):
        scope = "queue"

        def on_packet(self, packet: Packet, now: int) -> Answer:
            result: Answer = answer(packet, now)
            return result

    return Answers()


def late(packet: Packet, now: int) -> Answer:
    return Send(packet, at=now + 10 * ms)


class Keeps(Policy):
    """Holds every packet and is woken 10 ms after the first."""

    scope = "queue"

    def start(self) -> None:
        self.kept: list[Packet] = []

    def on_packet(self, packet: Packet, now: int) -> Answer:
        self.kept.append(packet)
        return [Hold(packet), Wake(now + 10 * ms)] if len(self.kept) == 1 else Hold(packet)
