"""Counts: how many packets were taken, and what became of them."""

from __future__ import annotations


class Counts:
    """The counts of one core so far.

    Attributes:
        taken: packets received.
        sent: those of them that went on.
        dropped: those that were dropped, for whatever reason.
        overflowed: those that were dropped because a policy's `limit` was reached.
        injected: packets that policies made, duplicates and new ones, and that were sent.
        cut_short: packets sent earlier than planned, because `max_hold` was reached.
    """

    __slots__ = ("cut_short", "dropped", "injected", "overflowed", "sent", "taken")

    def __init__(self) -> None:
        self.taken = self.sent = self.dropped = self.overflowed = self.injected = self.cut_short = 0

    @property
    def held(self) -> int:
        """Packets that wait for their verdict."""
        return self.taken - self.sent - self.dropped
