"""How a run goes, as a line on a terminal has it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Self


class Progress(NamedTuple):
    """The counts of packets so far; the greatest lateness since it was last asked, in ns."""

    taken: int = 0
    held: int = 0
    dropped: int = 0
    bypassed: int = 0
    late: int = 0

    @classmethod
    def of_all(cls, each: Sequence[Progress]) -> Self:
        """Several runs' together."""
        taken, held, dropped, bypassed, late = zip(cls(), *each, strict=True)
        return cls(sum(taken), sum(held), sum(dropped), sum(bypassed), max(late))
