"""Which tasks of this process are to run: who sleeps outside trio must know that none of them waits for its turn."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import trio


class Pending(trio.abc.Instrument):
    """The tasks that were scheduled and haven't run since.

    trio runs its tasks in rounds. `current_statistics` counts those of the next round, not those that this one still
    has to run.
    """

    def __init__(self) -> None:
        self._tasks: set[trio.lowlevel.Task] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    def task_scheduled(self, task: trio.lowlevel.Task) -> None:
        """See `trio.abc.Instrument`."""
        self._tasks.add(task)

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        """See `trio.abc.Instrument`."""
        self._tasks.discard(task)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """In here it notes what is scheduled."""
        trio.lowlevel.add_instrument(self)
        try:
            yield
        finally:
            trio.lowlevel.remove_instrument(self)
