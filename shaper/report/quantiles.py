"""How long the policies of a run held their packets."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any, NamedTuple

from shaper.core.verdict import Verdict
from shaper.units import ms


class Quantiles(NamedTuple):
    """Durations in ns: their number, the median, the 99th percentile (both by nearest rank) and the longest."""

    packets: int
    p50: int
    p99: int
    max: int

    @classmethod
    def of(cls, durations: Sequence[int]) -> Quantiles:
        """The quantiles of these durations (ns); all 0 if there are none."""
        if not durations:
            return cls(0, 0, 0, 0)
        ordered = sorted(durations)
        # The smallest value that at least this percentage of them does not exceed.
        p50, p99 = (ordered[-(-len(ordered) * percent // 100) - 1] for percent in (50, 99))
        return cls(len(ordered), p50, p99, ordered[-1])

    def as_json(self) -> dict[str, Any]:
        """An entry of a document; durations in ms."""
        return {"packets": self.packets, "p50_ms": self.p50 / ms, "p99_ms": self.p99 / ms, "max_ms": self.max / ms}


class HoldsByPolicy:
    """Collects how long each packet was held, by policy; takes eight bytes a hold.

    Args:
        policies: the names of the pipeline's stages, which are listed first, with holds or without.
    """

    def __init__(self, policies: Sequence[str]) -> None:
        self._durations = {name: array("q") for name in policies}

    def note(self, verdict: Verdict) -> None:
        """Count the holds of this verdict's packet."""
        for policy, duration in verdict.packet.hold_times:
            self._durations.setdefault(policy, array("q")).append(duration)

    def by_policy(self) -> dict[str, Quantiles]:
        """The quantiles for each policy, in the pipeline's order."""
        return {name: Quantiles.of(durations) for name, durations in self._durations.items()}
