"""reset: the connection is reset."""

from typing import Literal

from shaper import Action, Classes, Count, Drop, Packet, Policy, Send, Share, Time, reset_receiver, reset_sender


class Reset(Policy):
    """The nth segment of a class, or one chosen at random, is dropped, and a RST is sent in its place.

    The RST goes to the segment's receiver, with the segment's sequence number, or to its
    sender, as an answer, or to both. So it has exactly the sequence number that its receiver
    expects, and is accepted (RFC 5961, section 3). With `only=syn,to=sender` the connection
    is refused.

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
    """Count only these classes; other packets pass untouched."""
    nth: Count = 1
    """Which of the counted segments causes the reset, from 1; 0: none."""
    after: Time = 0
    """Start to count this long after the flow's first segment of these classes."""
    probability: Share = 0.0
    """The probability of a reset at each counted segment, instead of `nth`; 0%: use `nth`."""
    to: Literal["both", "receiver", "sender"] = "both"
    """Who gets a RST: the segment's receiver, its sender, or both."""

    def start(self) -> None:
        self._seen = 0
        self._came: int | None = None  # when the first of these segments came

    def on_packet(self, packet: Packet, now: int) -> list[Action] | None:
        if packet.tcp is None:
            return None
        if self._came is None:
            self._came = now
        if now < self._came + self.after:
            return None
        self._seen += 1
        if not (self.random.random() < self.probability if self.probability else self._seen == self.nth):
            return None
        resets = [reset_receiver(packet)] if self.to != "sender" else []
        resets += [reset_sender(packet)] if self.to != "receiver" else []
        return [Drop(packet), *(Send(reset) for reset in resets if reset is not None)]
