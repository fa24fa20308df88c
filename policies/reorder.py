"""reorder: some packets are overtaken by later ones."""

from collections.abc import Collection

from shaper import Action, Chance, Count, Duration, Hold, Packet, Policy, Send, Share, Wake, ms


class Reorder(Policy):
    """Some packets fall behind: `distance` later packets overtake each of them.

    If three packets overtake a TCP segment, its receiver sends three duplicate ACKs, and its
    sender retransmits it (RFC 5681, section 3.2). If too few packets follow, the chosen one
    goes on after `timeout`. Chosen packets keep their order among themselves.

    # reorder every=3 distance=2
    +0     < a b c d e
    +0     > a b d e c      the third packet is overtaken by two
    """

    needs = "headers"
    shorthand = "probability"

    probability: Share = 0.1
    """The share of packets that fall behind."""
    correlation: Share = 0.0
    """How much each choice depends on the one before."""
    every: Count = 0
    """Choose every nth packet, such as every third with 3; 0: choose at random."""
    distance: Count = 3
    """How many packets overtake a chosen one; 0: none, and the order stays."""
    timeout: Duration = 50 * ms
    """The longest that a chosen packet waits for others to overtake it."""

    def start(self) -> None:
        self._chance = Chance(self.random, self.correlation)
        self._seen = self._passed = 0
        # Packets that fall behind, each with the value of _passed at which it goes on, and its latest time.
        self._behind: list[tuple[int, int, Packet]] = []

    def on_change(self, changed: Collection[str]) -> None:
        if "correlation" in changed:
            self._chance = Chance(self.random, self.correlation)

    def on_packet(self, packet: Packet, now: int) -> list[Action]:
        if self._is_chosen() and self.distance and self.timeout:
            self._behind.append((self._passed + self.distance, now + self.timeout, packet))
            return [Hold(packet), Wake(self._behind[0][1])]
        self._passed += 1
        return [Send(packet), *self._overtaken(now)]

    def on_wake(self, now: int) -> list[Action]:
        return self._overtaken(now)

    def _is_chosen(self) -> bool:
        self._seen += 1
        if self.every:
            return self._seen % self.every == 0
        return self._chance.happens(self.probability)

    def _overtaken(self, now: int) -> list[Action]:
        """Send chosen packets that enough others have overtaken or whose time is over, and wake for the next one."""
        actions: list[Action] = []
        while self._behind and (self._behind[0][0] <= self._passed or self._behind[0][1] <= now):
            actions.append(Send(self._behind.pop(0)[2]))
        if self._behind:
            actions.append(Wake(self._behind[0][1]))
        return actions
