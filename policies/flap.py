"""flap: a link that goes down again and again."""

from collections.abc import Collection
from typing import Literal

from shaper import Action, Drop, Duration, Packet, Policy, Send, Time, ms, s, us

SHORTEST = 100 * us
"""The shortest time drawn (ns), so that few draws are needed even after a long time without packets."""


TIMES = {"up", "down", "times"}


class Flap(Policy):
    """A link that is up for some time, then down, then up again, starting with the first packet.

    While it is down, packets are dropped, as when a cable is unplugged, or held until it is
    up again, as when a phone changes its cell.

    # flap up=30ms down=20ms
    +0     < a
    +0     > a
    +.030  < b
    +0     x b
    +.020  < c
    +0     > c
    """

    needs = "headers"
    shorthand = "down"

    scope: Literal["flow", "connection", "queue"] = "queue"
    """One link for all packets; `flow` gives each flow a link of its own."""
    up: Time = 2 * s
    """How long it is up."""
    down: Duration = 200 * ms
    """How long it is down; 0: never."""
    packets: Literal["drop", "hold"] = "drop"
    """What happens to packets while it is down."""
    times: Literal["constant", "exponential"] = "constant"
    """exponential: `up` and `down` are means, and each time is drawn at random, as in Mahimahi's mm-onoff."""

    def start(self) -> None:
        self._is_up = True
        # When it last went down or came up, and when it does so next.
        self._since = 0
        self._until: int | None = None

    def on_change(self, changed: Collection[str]) -> None:
        """How long it is up or down holds for this time already."""
        if self._until is not None and TIMES & set(changed):
            self._until = self._since + self._draw(self.up if self._is_up else self.down)

    def on_packet(self, packet: Packet, now: int) -> Action | None:
        if not self.down:
            return None
        if self._until is None:
            self._since, self._until = now, now + self._draw(self.up)
        elif self.times == "constant":
            # Skip whole turns that passed without a packet.
            turns = max(0, now - self._until) // (self.up + self.down) * (self.up + self.down)
            self._since += turns
            self._until += turns
        while self._until <= now:
            self._is_up = not self._is_up
            self._since = self._until
            self._until += self._draw(self.up if self._is_up else self.down)
        if self._is_up:
            return None
        return Drop(packet) if self.packets == "drop" else Send(packet, at=self._until)

    def _draw(self, time: int) -> int:
        """How long it is up or down this time."""
        if self.times == "constant" or not time:
            return time
        return max(SHORTEST, round(self.random.expovariate(1 / time)))
