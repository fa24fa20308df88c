"""A scenario: pipelines that follow each other, each for a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import NamedTuple

from shaper.core.core import Following
from shaper.policy.base import Policy
from shaper.spec.load import load_pipeline


class Phase(NamedTuple):
    """One pipeline of a scenario.

    Attributes:
        specs: its SPECs, the first policy first.
        lasts: for how long, in ns; 0 for the last one, which stays.
    """

    specs: tuple[str, ...]
    lasts: int


@dataclass(frozen=True)
class Scenario:
    """Pipelines that follow each other.

    Attributes:
        phases: in order.
        repeat: after the last phase the first one begins again; then all of them last for some time.
    """

    phases: tuple[Phase, ...]
    repeat: bool = False

    def policies(self, max_hold: int) -> list[Policy]:
        """All policies of all phases, as prototypes.

        Args:
            max_hold: the longest that a packet may be held, in ns.

        Raises:
            LoadError, NetemError: see `load_pipeline`.
        """
        return [policy for phase in self.phases for policy in load_pipeline(phase.specs, max_hold)]

    def then(self, max_hold: int, elapsed: int = 0) -> Iterator[Following]:
        """The pipelines that follow the first one; without end, if they repeat.

        Args:
            max_hold: as for `policies`.
            elapsed: for how long it has gone on already, in ns.

        Raises:
            LoadError, NetemError: see `load_pipeline`.
        """
        pipelines = [load_pipeline(phase.specs, max_hold) for phase in self.phases]
        after = -elapsed
        for nth in count(1) if self.repeat else range(1, len(self.phases)):
            after += self.phases[(nth - 1) % len(self.phases)].lasts
            number = nth % len(self.phases)
            yield Following(after, pipelines[number], self.phases[number].specs)
