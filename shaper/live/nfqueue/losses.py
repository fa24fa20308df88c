"""Held packets that the kernel no longer has: other rules were loaded, or their interface went away.

It says so to no one. But it counts what waits in a queue, and a core that holds more than
that holds some in vain.
"""

from __future__ import annotations


class Losses:
    """Compares the kernel's count with the core's.

    Attributes:
        count: packets lost so far, as far as was seen.
    """

    def __init__(self) -> None:
        self.count = 0
        self._missing = 0  # of those lost, these the core still holds

    def see(self, known: int, waiting: int) -> bool:
        """So many packets the core held when the kernel had so many, those not yet taken included.

        Returns whether some are missing, so that `settle` has something to say.
        """
        missing = known - waiting
        self.count += max(0, missing - self._missing)
        self._missing = max(self._missing, missing)
        return self._missing > 0

    def settle(self, known: int, waiting: int, taken: int) -> None:
        """Since then so many were taken, among them all that waited; so no more than this are missing."""
        self._missing = min(self._missing, max(0, known + taken - waiting))
