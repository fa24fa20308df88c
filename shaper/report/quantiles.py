"""How long the policies of a run held their packets."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

from shaper.core.verdict import Verdict
from shaper.units import ms

COUNTED = 1 << 14
"""How many different holds of packets are counted."""
SORTED, BUCKETS = 1 << 16, 1024
"""Up to how many durations are sorted; into how many parts more are divided first."""


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
        # The smallest value that at least this percentage of them does not exceed.
        p50, p99 = (nth(durations, -(-len(durations) * percent // 100)) for percent in (50, 99))
        return cls(len(durations), p50, p99, max(durations))

    @classmethod
    def of_counted(cls, durations: Mapping[int, int]) -> Quantiles:
        """As `of`, with how many there are of each duration."""
        ordered = sorted(durations)
        total = sum(durations.values())
        ranks = list(accumulate(durations[duration] for duration in ordered))
        if not total:
            return cls(0, 0, 0, 0)
        p50, p99 = (ordered[bisect_left(ranks, -(-total * percent // 100))] for percent in (50, 99))
        return cls(total, p50, p99, ordered[-1])

    def as_json(self) -> dict[str, Any]:
        """An entry of a document; durations in ms."""
        return {"packets": self.packets, "p50_ms": self.p50 / ms, "p99_ms": self.p99 / ms, "max_ms": self.max / ms}


def nth(values: Sequence[int], rank: int) -> int:
    """The value of this rank, from 1, in ascending order. To sort a million at once would take 40 MB."""
    while len(values) > SORTED and (low := min(values)) < (high := max(values)):
        width = (high - low) // BUCKETS + 1
        sizes = [0] * BUCKETS
        for value in values:
            sizes[(value - low) // width] += 1
        bucket = 0
        while rank > sizes[bucket]:
            rank -= sizes[bucket]
            bucket += 1
        start = low + bucket * width
        values = array("q", (value for value in values if start <= value < start + width))
    return sorted(values)[rank - 1] if len(values) <= SORTED else values[0]


class HoldsByPolicy:
    """Collects how long each packet was held, by policy.

    Few different holds are counted; once there are many, a hold takes eight bytes.

    Args:
        policies: the names of the pipeline's stages, which are listed first, with holds or without.
    """

    def __init__(self, policies: Sequence[str]) -> None:
        self._durations = {name: array("q") for name in policies}
        self._counts: dict[tuple[tuple[str, int], ...], int] = {}

    def note(self, verdict: Verdict) -> None:
        """Count the holds of this verdict's packet."""
        packet, counts = verdict.packet, self._counts
        holds = (packet.origin or packet).noted
        if holds in counts:
            counts[holds] += 1
            return
        if len(counts) >= COUNTED:
            self._spread()
        counts[holds] = 1

    def by_policy(self) -> dict[str, Quantiles]:
        """The quantiles for each policy, in the pipeline's order."""
        if not any(self._durations.values()):
            # Moved, they would take memory for each packet.
            counters = {name: Counter[int]() for name in self._durations}
            for holds, number in self._counts.items():
                for policy, duration in holds:
                    counters.setdefault(policy, Counter())[duration] += number
            return {name: Quantiles.of_counted(counter) for name, counter in counters.items()}
        self._spread()
        return {name: Quantiles.of(durations) for name, durations in self._durations.items()}

    def _spread(self) -> None:
        """Move what was counted to the durations."""
        for holds, number in self._counts.items():
            for policy, duration in holds:
                self._durations.setdefault(policy, array("q")).extend(array("q", (duration,)) * number)
        self._counts.clear()
