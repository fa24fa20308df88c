"""Why packets were late: each packet's lateness is shared out to what the engine's CPU did from its due time on."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from bench.tail_spans import PROGRAM, UNKNOWN, WORK, Span, length

LEAST_PAUSE = 100_000
"""From this length on (ns), what keeps the engine from its work is a pause, and explains the queue behind it."""
NEARLY_ON_TIME = 100_000
"""A batch that is late by less than this (ns) is behind no pause any more."""


class Batch(NamedTuple):
    """Verdicts that were written together.

    Attributes:
        first: the earliest due time, in ns.
        written: when all were written, in ns.
        late: the due times of those that were late, in ns.
    """

    first: int
    written: int
    late: Sequence[int]


class Share(NamedTuple):
    """What one cause has done.

    Attributes:
        packets: late packets of which no other cause has a greater part.
        us: its part of the lateness of all late packets, in µs.
        longest_us: its longest part of one packet's lateness, in µs.
    """

    packets: int = 0
    us: float = 0.0
    longest_us: float = 0.0


def causes(spans: Sequence[Span], batches: Iterable[Batch], *, undisturbed: bool = False) -> dict[str, Share]:
    """What each cause has done.

    Args:
        spans: in order of time; they don't overlap.
        batches: in order of time.
        undisturbed: leave out all that was late while, or shortly after, other programs made a pause.
    """
    found: dict[str, Share] = {}
    begins = [span.begin for span in spans]
    for episode in episodes(batches):
        begin, end = min(batch.first for batch in episode), episode[-1].written
        part = spans[max(bisect_right(begins, begin) - 1, 0) : bisect_left(begins, end)]
        if undisturbed and sum(length(span) for span in part if span.cause.startswith(PROGRAM)) >= LEAST_PAUSE:
            continue
        blamed = _Blamed(part)
        for batch in episode:
            for due in batch.late:
                parts = blamed.between(due, batch.written)
                worst = max(parts, key=lambda cause: parts[cause])
                for cause, time in parts.items():
                    packets, us, longest = found.get(cause, Share())
                    packets += cause == worst
                    found[cause] = Share(packets, us + time / 1000, max(longest, time / 1000))
    return found


def episodes(batches: Iterable[Batch]) -> Iterator[list[Batch]]:
    """Batches in which the engine was behind all the time, if any packet was late."""
    episode: list[Batch] = []
    for batch in batches:
        if batch.written - batch.first >= NEARLY_ON_TIME:
            episode.append(batch)
            continue
        if any(each.late for each in episode):
            yield episode
        episode = []
    if any(each.late for each in episode):
        yield episode


class _Blamed:
    """How much time each cause takes from the begin of an episode to any time in it.

    Where the engine does its work after pauses, it catches up, and the time counts to the pauses, in proportion.
    """

    def __init__(self, spans: Sequence[Span]) -> None:
        self._times = [spans[0].begin] if spans else [0]
        self._taken: dict[str, list[float]] = {}
        pauses: dict[str, int] = {}
        pause: list[Span] = []
        for span in spans:
            if span.begin > self._times[-1]:
                self._add(span.begin, {UNKNOWN: 1.0})
            if span.cause not in WORK:
                pause.append(span)
                self._add(span.end, {span.cause: 1.0})
                continue
            if sum(map(length, pause)) >= LEAST_PAUSE:
                for each in pause:
                    pauses[each.cause] = pauses.get(each.cause, 0) + length(each)
            pause.clear()
            whole = sum(pauses.values())
            self._add(span.end, {cause: time / whole for cause, time in pauses.items()} or {span.cause: 1.0})

    def _add(self, end: int, shares: Mapping[str, float]) -> None:
        """Until this time, each cause has had this share of the time."""
        passed = end - self._times[-1]
        for cause in shares.keys() - self._taken.keys():
            self._taken[cause] = [0.0] * len(self._times)
        for cause, taken in self._taken.items():
            taken.append(taken[-1] + passed * shares.get(cause, 0.0))
        self._times.append(end)

    def between(self, begin: int, end: int) -> dict[str, float]:
        """How much of the time from `begin` to `end` (ns) each cause has taken."""
        (first, before), (last, after) = self._place(begin), self._place(end)
        parts = {}
        for cause, taken in self._taken.items():
            part = taken[last] - taken[first]
            part += after * (taken[last + 1] - taken[last]) - before * (taken[first + 1] - taken[first])
            if part > 0:
                parts[cause] = part
        unknown = end - begin - sum(parts.values())
        return parts | {UNKNOWN: unknown} if unknown >= 1 else parts

    def _place(self, at: int) -> tuple[int, float]:
        """After which of the times this one is, and how far towards the next, as a part of that way."""
        times = self._times
        if len(times) < 2:
            return 0, 0.0
        nth = min(max(bisect_right(times, at) - 1, 0), len(times) - 2)
        return nth, min(max((at - times[nth]) / (times[nth + 1] - times[nth]), 0.0), 1.0)
