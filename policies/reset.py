"""reset: the connection is reset."""

from typing import Literal

from shaper import Action, Classes, Count, Drop, Packet, Policy, Send, Share, Time, reset_receiver, reset_sender


class Reset(Policy):
    """The n-th segment of a class is dropped, or one by chance, and a RST sent in its place.

    To its receiver, with the segment's own sequence number, or to its sender, as if in
    answer, or to both; so the RST has exactly the number that the other end waits for, and
    counts (RFC 5961, section 3). With `only=syn to=sender` the connection is refused.

    # reset
    +0     < s:syn
    +0     > s
    +.001  < sa:synack,reply k:ack d:data=6
    +0     x d
    +0     > sa k r:rst,seq=1,win=0 t:rst,reply,seq=1,ack=7,win=0
    """

    needs = "headers"
    shorthand = "nth"
    can_hold = False

    only: Classes = frozenset({"data"})
    """Count these classes alone; others pass untouched."""
    nth: Count = 1
    """Reset at the so many-th segment that is counted; 0: never."""
    after: Time = 0
    """Count from this time on after the flow's first segment of these classes."""
    probability: Share = 0.0
    """Reset at each counted segment by chance, instead of the n-th; 0%: the n-th."""
    to: Literal["both", "receiver", "sender"] = "both"
    """Who gets a RST: the counted segment's receiver, its sender, or both."""

    def start(self) -> None:
        self._seen = 0
        self._begin: int | None = None

    def on_packet(self, packet: Packet, now: int) -> list[Action] | None:
        if packet.tcp is None:
            return None
        if self._begin is None:
            self._begin = now + self.after
        if now < self._begin:
            return None
        self._seen += 1
        if not (self.random.random() < self.probability if self.probability else self._seen == self.nth):
            return None
        resets = [reset_receiver(packet)] if self.to != "sender" else []
        resets += [reset_sender(packet)] if self.to != "receiver" else []
        return [Drop(packet), *(Send(reset) for reset in resets if reset is not None)]
