"""fates: single packets, each named, are dropped, held, sent twice or overtaken."""

from collections.abc import Collection
from typing import Literal

from shaper import Action, Drop, Duration, Fate, Flow, Hold, Namer, Packet, PacketName, Policy, Schedule, Send, Wake, ms


class Fates(Policy):
    """Single packets, each named, are dropped, held, sent twice or overtaken by later ones.

    A name, such as `tcp/8080 #1 reply data 2`, stands for the same packet in every run of the same
    programs, live and in replay, whatever the client's port (docs/timelines.md). `shaper replay
    --timeline` prints the names of the packets of any run. What can become of a packet: `drop`;
    `hold 40ms`, while later ones overtake it; `twice`; `behind 2`, so that the next two packets of
    its flow overtake it. All other packets pass.

    Fates are separated by `;`, or lie in a file, one in each line; a line that begins with `#`
    and no number is a comment. Let this policy be the first: packets are counted as they reach it.

    # fates "tcp/80 #1 original data 2: drop"
    +0     < a b c
    +0     x b
    +0     > a c
    """

    shorthand = "schedule"

    scope: Literal["queue"] = "queue"
    """One object for all packets, since names count connections."""
    schedule: Schedule = (Fate(PacketName("", 1, "original", "data", 1), "hold", 40 * ms),)
    """What becomes of which packets."""
    timeout: Duration = 50 * ms
    """The longest that a packet waits for others to overtake it."""

    def start(self) -> None:
        self._namer = Namer()
        # What becomes of packets that did not come yet.
        self._fates: dict[PacketName, Fate] = {}
        # Packets that fall behind: how many still overtake each, its latest time, its flow.
        self._behind: list[tuple[int, int, Flow, Packet]] = []
        self.tally("met", 0)
        self.on_change(("schedule",))

    def on_change(self, changed: Collection[str]) -> None:
        if "schedule" in changed:
            before, self._fates = len(self._fates), {fate.packet: fate for fate in self.schedule}
            self.tally("not met", len(self._fates) - before)

    def on_packet(self, packet: Packet, now: int) -> list[Action] | None:
        if not packet.id:
            return None  # another policy made it
        name, short = self._namer.both(packet)
        fate = self._fates.pop(name, None) or self._fates.pop(short, None)
        if fate is None:
            return [Send(packet), *self._overtaken(packet.flow, now)] if self._behind else None
        self.tally("met")
        self.tally("not met", -1)
        if fate.what == "drop":
            return [Drop(packet)]
        if fate.what == "hold":
            return [Send(packet, at=now + fate.amount)]
        if fate.what == "behind" and self.timeout:
            self._behind.append((fate.amount, now + self.timeout, packet.flow, packet))
            return [Hold(packet), *self._overtaken(None, now)]
        copies = 1 + (fate.what == "twice" and not packet.truncated)
        return [*[Send(packet)] * copies, *self._overtaken(packet.flow, now)]

    def on_wake(self, now: int) -> list[Action]:
        return self._overtaken(None, now)

    def _overtaken(self, by: Flow | None, now: int) -> list[Action]:
        """Send those that enough others have overtaken or whose time is over, and wake for the next one.

        Args:
            by: the flow of the packet that goes on, if one does.
            now: the time, in ns.
        """
        waiting = [(left - (flow == by), latest, flow, packet) for left, latest, flow, packet in self._behind]
        self._behind = [each for each in waiting if each[0] and each[1] > now]
        actions: list[Action] = [Send(each[3]) for each in waiting if each not in self._behind]
        if self._behind:
            actions.append(Wake(min(latest for _, latest, _, _ in self._behind)))
        return actions
