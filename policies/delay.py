"""delay: every packet is held for a time."""

from typing import Literal

from shaper import UNIFORM, Chance, Duration, Packet, Policy, Send, Shape, Share, ms


class Delay(Policy):
    """Every packet is held for `time`, give or take `jitter`.

    As netem's `delay`, with one difference: packets of a flow keep their order, however
    large the jitter is, unless `order=free` is asked for. A packet whose own delay is over
    then waits for those before it.

    # delay time=100ms
    +0     < a
    +.030  < b
    +.070  > a              100 ms after it came
    +.030  > b              the gap between them is kept
    """

    needs = "headers"
    shorthand = "time"

    time: Duration = 100 * ms
    """How long packets are held, on average."""
    jitter: Duration = 0
    """How far delays spread: the most for the uniform distribution, else the standard deviation."""
    distribution: Shape = UNIFORM
    """How delays spread; a FILE.dist is a table in iproute2's format."""
    correlation: Share = 0.0
    """How much each delay depends on the one before."""
    order: Literal["keep", "free"] = "keep"
    """Whether a packet may overtake one with a longer delay."""

    def start(self) -> None:
        self._last = 0
        self._chance = Chance(self.random, self.correlation) if self.jitter else None

    def on_packet(self, packet: Packet, now: int) -> Send:
        if self._chance is None:
            return Send(packet, at=now + self.time)
        at = now + self.distribution.draw(self.time, self.jitter, self._chance)
        if self.order == "keep":
            at = self._last = max(at, self._last)
        return Send(packet, at=at)
