"""Planned and actual holds of packets: how late a userspace shaper is, measured cheaply."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

from shaper.core.train import Part
from shaper.core.verdict import Verdict
from shaper.report.quantiles import Quantiles

MAX_SAMPLES = 1 << 15
"""Samples kept; when there are more, every second one is discarded, and from then on half as many are taken."""


class Holds:
    """Planned ("wanted") and actual holds of the packets that went on: an even sample, and the exact maxima."""

    def __init__(self) -> None:
        # Two arrays, not a list of tuples: to free 16 000 of these would take 2 ms.
        self._wanted, self._actual = array("q"), array("q")
        self._step = 1
        self._next = 0  # how many packets until the next sample
        self._max_actual = self._max_late = self._worst = 0

    def add(self, verdicts: Sequence[Verdict], at: int) -> None:
        """These verdicts, in the order of their planned times, were all carried out by `at` (ns)."""
        late = at - verdicts[0].planned
        if late > self._worst:
            self._worst = late
        earliest = at
        for verdict in verdicts:
            arrived = verdict.packet.arrived
            if arrived < earliest:
                earliest = arrived
        self._max_actual = max(self._max_actual, at - earliest)
        for verdict in verdicts[self._next :: self._step]:
            if verdict.fate != "dropped":
                arrived = verdict.packet.arrived
                self._wanted.append(verdict.planned - arrived)
                self._actual.append(at - arrived)
        self._next = (self._next - len(verdicts)) % self._step
        self._thin_out()

    def sampled(self, count: int) -> range:
        """Which of the next packets, so many and all sent, belong to the sample."""
        return range(self._next, count, self._step)

    def passed(self, count: int, samples: Sequence[int], first: int, planned: int, at: int) -> None:
        """As `add` for packets that nobody held.

        Args:
            count: how many.
            samples: when those of `sampled` arrived, in ns.
            first: when the first of all did.
            planned: they were to go on when they arrived, but not before this time (ns).
            at: when they all went on.
        """
        self._worst = max(self._worst, at - max(first, planned))
        self._max_actual = max(self._max_actual, at - first)
        for arrived in samples:
            self._wanted.append(max(planned - arrived, 0))
            self._actual.append(at - arrived)
        self._next = (self._next - count) % self._step
        self._thin_out()

    def went(self, parts: Sequence[Part], at: int) -> None:
        """As `add` for packets of trains."""
        for train, begin, end in parts:
            arrived = train.arrived
            self._worst = max(self._worst, at - train.due(begin))
            self._max_actual = max(self._max_actual, at - arrived[begin])
            for nth in self.sampled(end - begin):
                self._wanted.append(train.due(begin + nth) - arrived[begin + nth])
                self._actual.append(at - arrived[begin + nth])
            self._next = (self._next - end + begin) % self._step
        self._thin_out()

    def _thin_out(self) -> None:
        if len(self._wanted) > MAX_SAMPLES:
            self._wanted, self._actual = self._wanted[::2], self._actual[::2]
            self._step *= 2

    def worst_lately(self) -> int:
        """The greatest lateness since this was last asked, in ns."""
        worst, self._worst = self._worst, 0
        self._max_late = max(self._max_late, worst)
        return worst

    def to_json(self, most: int = MAX_SAMPLES) -> dict[str, Any]:
        """All of it as JSON has it, for `joined`; with at most about this number of samples."""
        longest, each = (self._max_actual, max(self._max_late, self._worst)), 1
        while len(self._wanted) > most * each:
            each *= 2
        samples = list(zip(self._wanted[::each], self._actual[::each], strict=True))
        return {"step": self._step * each, "samples": samples, "longest": longest}

    def latenesses(self, most: int) -> list[int]:
        """How late (ns) the packets of the last samples were, this number of samples at most."""
        return [actual - wanted for wanted, actual in zip(self._wanted[-most:], self._actual[-most:], strict=True)]

    @classmethod
    def joined(cls, parts: Iterable[Mapping[str, Any]]) -> Self:
        """Those of several, as `to_json` gave them, joined: each sample stands for as many packets as any other."""
        parts = list(parts)
        made = cls()
        made._step = max((part["step"] for part in parts), default=1)
        for part in parts:
            for wanted, actual in part["samples"][:: made._step // part["step"]]:
                made._wanted.append(wanted)
                made._actual.append(actual)
            actual, late = part["longest"]
            made._max_actual, made._max_late = max(made._max_actual, actual), max(made._max_late, late)
        return made

    @property
    def wanted(self) -> Quantiles:
        """Planned departure minus arrival."""
        return Quantiles.of(list(self._wanted))

    @property
    def actual(self) -> Quantiles:
        """Departure minus arrival."""
        return Quantiles.of(list(self._actual))._replace(max=self._max_actual)

    @property
    def late(self) -> Quantiles:
        """Departure minus planned departure."""
        return Quantiles.of(self.latenesses(len(self._wanted)))._replace(max=max(self._max_late, self._worst))
