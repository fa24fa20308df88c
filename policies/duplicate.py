"""duplicate: some packets are sent twice or more."""

from collections.abc import Collection
from typing import Literal

from shaper import Action, Chance, Count, Packet, Policy, Send, Share


class Duplicate(Policy):
    """Some packets are sent twice or more, with the copies right behind the packet.

    As netem's `duplicate`, one object for the link. If the kernel copied only the beginning
    of a packet, that packet can't be duplicated, and is sent once.

    # duplicate probability=100%
    +0     < a b
    +0     > a a b b
    """

    shorthand = "probability"
    can_hold = False

    scope: Literal["flow", "connection", "queue"] = "queue"
    """One object for the link, as in netem; `flow` gives each flow its own random numbers."""
    probability: Share = 0.1
    """The share of packets that are duplicated."""
    correlation: Share = 0.0
    """How much each choice depends on the one before."""
    copies: Count = 1
    """How many copies of each of them are sent."""

    def start(self) -> None:
        self._chance = Chance(self.random, self.correlation)

    def on_change(self, changed: Collection[str]) -> None:
        if "correlation" in changed:
            self._chance = Chance(self.random, self.correlation)

    def on_packet(self, packet: Packet, now: int) -> list[Action] | None:
        if self._chance.happens(self.probability) and not packet.truncated:
            return [Send(packet)] * (1 + self.copies)
        return None
