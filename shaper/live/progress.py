"""The state of a run, for a line on a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Self


class Progress(NamedTuple):
    """Counts of packets so far, and the greatest lateness since the last such state, in ns."""

    taken: int = 0
    held: int = 0
    dropped: int = 0
    bypassed: int = 0
    late: int = 0

    @classmethod
    def of_all(cls, each: Sequence[Progress]) -> Self:
        """The state of several runs, added up; of the latenesses the greatest."""
        taken, held, dropped, bypassed, late = zip(cls(), *each, strict=True)
        return cls(sum(taken), sum(held), sum(dropped), sum(bypassed), max(late))
