"""The numbers of the queues that several workers have, all in a row."""

from __future__ import annotations

from shaper.errors import UsageError
from shaper.live.nfqueue.counters import bound
from shaper.live.nfqueue.queue import NUMBERS, QueueError

LAST = 0xFFFF
"""The highest number of a queue."""


def first_number(number: int | None, workers: int) -> int:
    """The first of as many queues in a row: of that number, or of one that makes all of them free ones.

    Raises:
        UsageError: there are no queues beyond 65535.
        QueueError: there are no free ones.
    """
    if number is not None:
        if number + workers - 1 > LAST:
            raise UsageError(f"--queue {number} and --workers {workers} go beyond {LAST}, the last queue")
        return number
    taken = bound()
    for first in NUMBERS[: len(NUMBERS) - workers + 1]:
        if taken.isdisjoint(range(first, first + workers)):
            return first
    raise QueueError(f"no {workers} queues in a row are free from {NUMBERS[0]} to {NUMBERS[-1]}; use --queue")


def numbered(first: int, workers: int) -> str:
    """The queues, in words."""
    return f"queue {first}" if workers == 1 else f"queues {first} to {first + workers - 1}"
