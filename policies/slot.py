"""slot: packets are collected and sent together, in time slots."""

from typing import Literal

from shaper import UNIFORM, Action, Chance, Count, Duration, Hold, Packet, Policy, Send, Shape, Share, Size, Wake, ms


class Slot(Policy):
    """Packets wait for the next time slot and are sent together in it, as in wireless and cable networks.

    As netem's `slot`, one object for the link. The first packet after a pause opens a slot
    `min_delay` to `max_delay` away. All packets that come until then leave in it, in order.
    Packets beyond a slot's `packets` or `bytes` wait for the next slot.

    # slot min_delay=10ms
    +0     < a
    +.004  < b
    +.006  > a b
    """

    needs = "headers"
    shorthand = "min_delay"

    scope: Literal["flow", "connection", "queue"] = "queue"
    """One object for the link, as in netem; `flow` gives each flow slots of its own."""
    min_delay: Duration = 10 * ms
    """The shortest time to the next slot."""
    max_delay: Duration = 0
    """The longest time to the next slot; 0: always `min_delay`."""
    delay: Duration = 0
    """The mean time to the next slot, spread by `distribution` and `jitter`, instead of `min_delay` and `max_delay`."""
    jitter: Duration = 0
    """How far the times spread around `delay`: at most, for the uniform distribution; else the standard deviation."""
    distribution: Shape = UNIFORM
    """How the times are distributed around `delay`."""
    probability: Share = 1.0
    """The probability that a packet after a pause opens a slot; otherwise the packet goes on at once."""
    packets: Count = 0
    """The most packets in a slot; 0: any number."""
    bytes: Size = 0
    """A slot ends with the packet that brings it to this many bytes; 0: any number."""
    overhead: int = 0
    """With `bytes`: bytes added to the length of each packet, such as 14 for the Ethernet header."""

    def start(self) -> None:
        self._chance = Chance(self.random)
        self._queue: list[Packet] = []

    def on_packet(self, packet: Packet, now: int) -> list[Action] | None:
        if self._is_off:
            return None
        if not self._queue and self.probability < 1 and not self._chance.happens(self.probability):
            return None
        self._queue.append(packet)
        return [Hold(packet)] if len(self._queue) > 1 else [Hold(packet), self._next_slot(now)]

    def on_wake(self, now: int) -> list[Action]:
        actions: list[Action] = []
        length = 0
        while self._queue:
            packet = self._queue.pop(0)
            actions.append(Send(packet))
            length += packet.length + self.overhead
            if not self._is_off and (len(actions) == self.packets or 0 < self.bytes <= length):
                break
        if self._queue:
            actions.append(self._next_slot(now))
        return actions

    @property
    def _is_off(self) -> bool:
        """Whether there are no slots."""
        return not (self.min_delay or self.max_delay or self.delay or self.jitter)

    def _next_slot(self, now: int) -> Wake:
        if self.delay or self.jitter:
            away = self.distribution.draw(self.delay, self.jitter, self._chance)
        else:
            away = self.min_delay + int(self._chance.next() * max(0, self.max_delay - self.min_delay))
        return Wake(now + max(away, 1))
