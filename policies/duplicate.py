"""duplicate: some packets are sent twice, or more often."""

from typing import Literal

from shaper import Action, Chance, Count, Packet, Policy, Send, Share


class Duplicate(Policy):
    """Some packets are sent twice, or more often, the copies right behind the packet.

    As netem's `duplicate`, one object for the link. A packet of which the kernel copied
    only the beginning can't be duplicated, and is sent once.

    # duplicate probability=100%
    +0     < a b
    +0     > a a b b
    """

    shorthand = "probability"
    can_hold = False

    scope: Literal["flow", "connection", "queue"] = "queue"
    """One object for the link, as netem's; `flow` gives each flow a chance of its own."""
    probability: Share = 0.1
    """The share of packets of which there are copies."""
    correlation: Share = 0.0
    """How much each choice depends on the one before."""
    copies: Count = 1
    """How many copies are sent of each of them."""

    def start(self) -> None:
        self._chance = Chance(self.random, self.correlation)

    def on_packet(self, packet: Packet, now: int) -> list[Action] | None:
        if self._chance.happens(self.probability) and not packet.truncated:
            return [Send(packet)] * (1 + self.copies)
        return None
