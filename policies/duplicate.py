"""duplicate: some packets are sent twice."""

from typing import Literal

from shaper import Action, Chance, Packet, Policy, Send, Share


class Duplicate(Policy):
    """Some packets are sent twice, the copy right behind the packet.

    As netem's `duplicate`, one object for the link. A packet of which the kernel copied
    only the beginning can't be duplicated, and is sent once.

    # duplicate probability=100%
    +0     < a b
    +0     > a a b b
    """

    shorthand = "probability"
    holds = False

    scope: Literal["flow", "connection", "queue"] = "queue"
    """One object for the link, as netem's; `flow` gives each flow a chance of its own."""
    probability: Share = 0.1
    """The share of packets that are sent twice."""
    correlation: Share = 0.0
    """How much each choice depends on the one before."""

    def start(self) -> None:
        self._chance = Chance(self.random, self.correlation)

    def on_packet(self, packet: Packet, now: int) -> list[Action] | None:
        if self._chance.happens(self.probability) and not packet.truncated:
            return [Send(packet), Send(packet)]
        return None
