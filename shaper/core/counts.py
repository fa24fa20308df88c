"""Counts: how many packets were taken, and what became of them."""

from __future__ import annotations


class Counts:
    """The counts of one core so far.

    Attributes:
        taken: packets received.
        sent: those that went on.
        dropped: those that did not, those beyond a policy's `limit` included.
        overflowed: those dropped because of a policy's `limit`.
        injected: packets that policies made, duplicates and new ones, and sent.
        cut_short: packets sent earlier than planned, because of the longest hold allowed.
    """

    __slots__ = ("cut_short", "dropped", "injected", "overflowed", "sent", "taken")

    def __init__(self) -> None:
        self.taken = self.sent = self.dropped = self.overflowed = self.injected = self.cut_short = 0

    @property
    def held(self) -> int:
        """Packets that await their verdict."""
        return self.taken - self.sent - self.dropped
