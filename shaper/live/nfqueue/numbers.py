"""The numbers of queues: of several workers, one after the other; of those that packets on their way out pass first."""

from __future__ import annotations

from shaper.errors import UsageError
from shaper.live.nfqueue.counters import bound
from shaper.live.nfqueue.queue import AUTOMATIC_NUMBERS, QueueError

LAST = 0xFFFF
"""The highest number that a queue can have."""
HALF = 0x8000
"""Half of all numbers."""


def first_number(number: int | None, workers: int) -> int:
    """The number of the first of several queues in a row, one per worker.

    Args:
        number: the number wanted; None for one from which on all of them are free.
        workers: how many queues.

    Raises:
        UsageError: the last would be beyond 65535, or in the other half of all numbers.
        QueueError: nowhere are this many queues in a row free.
    """
    if number is not None:
        if number + workers - 1 > LAST:
            raise UsageError(f"--queue {number} and --workers {workers} go beyond {LAST}, the last queue")
        if number < HALF < number + workers:
            # The queues that packets on their way out pass first would not be in a row.
            raise UsageError(f"--queue {number} and --workers {workers} go from below to above {HALF}; choose others")
        return number
    taken = bound()
    for first in AUTOMATIC_NUMBERS[: len(AUTOMATIC_NUMBERS) - workers + 1]:
        if taken.isdisjoint(range(first, first + workers)):
            return first
    raise QueueError(
        f"no {workers} queues in a row are free from {AUTOMATIC_NUMBERS[0]} to {AUTOMATIC_NUMBERS[-1]}; use --queue"
    )


def numbered(first: int, workers: int) -> str:
    """The queues, in words."""
    return f"queue {first}" if workers == 1 else f"queues {first} to {first + workers - 1}"


def output_number(queue: int) -> int:
    """The number of the queue that packets pass before the one with this number: half of all numbers away."""
    return queue ^ HALF
