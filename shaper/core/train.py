"""Trains: packets of one flow that came right behind each other, and are held alike.

To make an object of each packet, and to plan each, costs more than all else that is done for it. Where packets come in
many at once, and their policy holds each for the same time (see `Policy.constant_hold`), they are planned together.
Once anything else happens to one of them than that it goes on at its time, all are made packets.

The term is that of R. Jain and S. Routhier, "Packet Trains", IEEE JSAC 4 (6), 1986.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Final, NamedTuple

from shaper.core.connections import FlowState
from shaper.core.instances import PolicyInstance
from shaper.wire.packet import Packet

SHORTEST: Final = 4
"""Of how many packets the trains of a batch are on average, at least; with fewer, they would save nothing."""


class Came(NamedTuple):
    """Packets as they were read from the queue, in their order: their numbers, when each arrived (ns), their bytes."""

    ids: Sequence[int]
    arrived: Sequence[int]
    raws: Sequence[bytes]


class Train:
    """Packets of one flow that one instance holds for the same time each; it is the last one that they meet.

    Attributes:
        state: their flow's.
        instance: what holds them.
        ids, arrived: see `Came`.
        gone: how many of them went on already.
        plan: the number of the agenda's plan for the first one; the others have the numbers behind it.
    """

    __slots__ = (
        "_hold", "_kinds", "_raws", "_since", "_taken", "_turn", "arrived", "gone", "ids", "instance", "plan", "state",
    )  # fmt: skip

    def __init__(
        self,
        state: FlowState,
        instance: PolicyInstance,
        came: Came,
        kinds: Sequence[str],
        since: Sequence[int],
        taken: int,
    ) -> None:
        """All but the first two are known of each packet, but for `taken`.

        Args:
            state, instance: see the attributes.
            came: the packets.
            kinds: their classes.
            since: since when each is held, in ns: when it arrived, or later if the core's time had passed that.
            taken: when they were read from the queue, in ns.
        """
        self.state = state
        self.instance = instance
        self.ids, self.arrived, self._raws = came
        self.gone = self.plan = 0
        self._kinds = kinds
        self._since = since
        self._taken = taken
        self._hold = instance.hold
        self._turn = state.turn

    def __len__(self) -> int:
        """How many are still held."""
        return len(self.ids) - self.gone

    def due(self, nth: int) -> int:
        """When one of them goes on, in ns."""
        return self._since[nth] + self._hold

    def due_by(self, now: int) -> int:
        """How many of them are gone, or due, by `now` (ns)."""
        return bisect_right(self._since, now - self._hold, self.gone)

    def packets(self) -> list[Packet]:
        """Those that are still held, as packets, with their plans."""
        made = []
        for nth in range(self.gone, len(self.ids)):
            packet = Packet(self._raws[nth], self.ids[nth], self.arrived[nth])
            packet.taken = self._taken
            packet.kind, packet.direction = self._kinds[nth], self.state.direction
            packet.flow_state, packet.turn = self.state, self._turn
            packet.holder, packet.since = self.instance, self._since[nth]
            packet.due, packet.plan = self.due(nth), self.plan + nth
            made.append(packet)
        self.gone = len(self.ids)
        return made


class Part(NamedTuple):
    """Packets of a train that go on: from one until before another."""

    train: Train
    begin: int
    end: int
