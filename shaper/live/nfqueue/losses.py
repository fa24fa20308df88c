"""Held packets that the kernel no longer has: other rules were loaded, or their interface went away.

The kernel doesn't report this. But it counts the packets in a queue, and if the core holds more than that, the kernel
has lost some of them.
"""

from __future__ import annotations


class Losses:
    """Compares the kernel's count of held packets with the core's.

    Attributes:
        count: packets lost so far, as far as was seen.
    """

    def __init__(self) -> None:
        self.count = 0
        self._missing = 0  # lost packets that the core still holds

    def see(self, known: int, waiting: int) -> bool:
        """Compare the two counts at one time.

        Args:
            known: packets that the core held.
            waiting: packets that the kernel had, including those not yet taken.

        Returns:
            Whether some are missing, so that `settle` is worth calling.
        """
        missing = known - waiting
        self.count += max(0, missing - self._missing)
        self._missing = max(self._missing, missing)
        return self._missing > 0

    def settle(self, known: int, waiting: int, taken: int) -> None:
        """See how many are still missing, now that `taken` packets were taken, among them all that waited."""
        self._missing = min(self._missing, max(0, known + taken - waiting))
