"""tail_probe.py FILE ARGUMENTS…: runs shaper with these arguments, and notes in the engine what makes packets late.

The engine gives each batch of verdicts to its meter, here one that notes when the batch was due and when it was
written. trio reports which of its tasks run, and Python when its collector does. All goes to FILE at the end. What is
noted lies in memory that was touched before, so that noting causes no page faults.
"""

import gc
import json
import struct
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, TextIO
from unittest.mock import patch

import trio

from shaper.cli import main
from shaper.core.verdict import Verdict
from shaper.live import session
from shaper.live.meter import Meter
from shaper.live.run import Run
from shaper.wire.packet import Packet

LATE = 200_000
"""From which lateness on (ns) a packet's own due time is noted, too."""
ROOM = 1 << 18
"""How many rows of each kind there is room for."""


class Rows:
    """Rows of numbers; those for which there is no more room are only counted."""

    def __init__(self, columns: int) -> None:
        self._layout = struct.Struct(f"{columns}q")
        self._memory = bytearray(b"\1") * (ROOM * self._layout.size)
        self._end = self.lost = 0

    def add(self, *row: int) -> None:
        """Note a row."""
        if self._end == len(self._memory):
            self.lost += 1
            return
        self._layout.pack_into(self._memory, self._end, *row)
        self._end += self._layout.size

    def all(self) -> list[tuple[int, ...]]:
        """All rows that were noted."""
        return list(self._layout.iter_unpack(self._memory[: self._end]))


class Batches(Meter):
    """Notes each batch of verdicts in place of what a meter counts.

    Attributes:
        batches: the earliest due time, the time when all were written and that when the engine had counted them, how
            many they were, how many of them were late.
        late: the due times of those.
    """

    def __init__(self) -> None:
        super().__init__()
        self.batches, self.late = Rows(5), Rows(1)

    def arrived(self, packets: Sequence[Packet]) -> None:
        """Packets that come are of no interest."""

    def left(self, verdicts: Sequence[Verdict], at: int) -> None:
        """These verdicts, in the order of their due times, were written until `at` (ns)."""
        counted, first, late = time.monotonic_ns(), verdicts[0].planned, 0
        if at - first > LATE:
            for verdict in verdicts:
                if at - verdict.planned > LATE:
                    self.late.add(verdict.planned)
                    late += 1
        self.batches.add(first, at, counted, len(verdicts), late)


class Steps(trio.abc.Instrument):
    """Notes which task of trio runs.

    Attributes:
        names: of the tasks.
        rows: when a step began or ended, the number of its task's name, and 1 if it began.
    """

    def __init__(self) -> None:
        self.names: dict[str, int] = {}
        self.rows = Rows(3)

    def _note(self, task: trio.lowlevel.Task, begins: int) -> None:
        self.rows.add(time.monotonic_ns(), self.names.setdefault(task.name, len(self.names)), begins)

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        """A step begins."""
        self._note(task, 1)

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        """A step ends."""
        self._note(task, 0)


class NotedRun(Run):
    """A run that notes what its engine does, and writes it to a file when it has ended."""

    def __init__(self, notes: TextIO, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._notes = notes
        self._batches, self._steps, self._collections = Batches(), Steps(), Rows(3)
        self.engine.meter = self._batches
        trio.lowlevel.add_instrument(self._steps)
        gc.callbacks.append(self._collects)

    def _collects(self, phase: str, info: dict[str, int]) -> None:
        self._collections.add(time.monotonic_ns(), info["generation"], phase == "start")

    async def finish(self) -> None:
        """As `Run.finish`; then write all that was noted."""
        await super().finish()
        gc.callbacks.remove(self._collects)
        trio.lowlevel.remove_instrument(self._steps)
        rows = {
            "batches": self._batches.batches,
            "late": self._batches.late,
            "steps": self._steps.rows,
            "collections": self._collections,
        }
        found: dict[str, Any] = {name: each.all() for name, each in rows.items()}
        found |= {"tasks": list(self._steps.names), "lost": sum(each.lost for each in rows.values())}
        json.dump(found, self._notes)
        self._notes.flush()


def run(file: Path) -> None:
    """Run shaper with the arguments of this program."""
    # Opened now, since later the engine may not be allowed to.
    with file.open("w", encoding="utf-8") as notes, patch.object(session, "Run", partial(NotedRun, notes)):
        main()


if __name__ == "__main__":
    run(Path(sys.argv.pop(1)))
