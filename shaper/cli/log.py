"""What a long run says: a line a minute and at each change of state, with the time, for people or for machines."""

from __future__ import annotations

import json
from contextlib import suppress
from queue import Full, Queue
from threading import Thread
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from rich.console import Console

    from shaper.live.front.front import Front
    from shaper.live.state import Kind

LogFormat = Literal["text", "json"]
"""Lines for people, or JSON lines."""
INTERVAL = 60
"""Seconds between two lines with the counts."""
WAITING = 1000
"""Lines that wait to be written, at most."""
PATIENCE = 1.0
"""Seconds for the last lines to be written."""


class Log:
    """Writes the lines of one run, in a thread of its own: whoever reads them, or stops, keeps nobody waiting.

    Args:
        out: where they go.
        form: as what.
        front: of the run.
    """

    def __init__(self, out: Console, form: LogFormat, front: Front) -> None:
        self._out, self._form, self._front = out, form, front
        self._lines: Queue[str | None] = Queue(WAITING)
        self._lost = 0
        self._writing = Thread(target=self._write_all, name="log", daemon=True)
        self._writing.start()

    def close(self) -> None:
        """Wait until all is written, but not long if nobody reads it."""
        with suppress(Full):
            self._lines.put(None, timeout=PATIENCE)
            self._writing.join(PATIENCE)

    async def counts(self) -> None:
        """Write a line with the counts so far."""
        await self._front.count()
        now = self._front.progress()
        if self._form == "json":
            self._write("counts", now._asdict())
        else:
            self._write("counts", {"message": described(self._front)})

    def happened(self, kind: Kind, data: dict[str, Any]) -> None:
        """Write a line about something that has happened."""
        if self._form == "json" or (kind in ("change", "state") and data.get("state") != "stopping"):
            self._write(kind, data)

    def _line(self, kind: str, data: dict[str, Any]) -> str:
        from shaper.live.state import time_of_day

        if self._form == "json":
            return json.dumps({"time": time_of_day(), "kind": kind, **data})
        what = data.get("message") or " ".join(map(_text, data.values()))
        return f"{time_of_day()} {what if kind == 'change' else f'{kind}: {what}'}"

    def _write(self, kind: str, data: dict[str, Any]) -> None:
        try:
            if self._lost:
                lost = f"{self._lost} lines were left out, as nobody read them"
                self._lines.put_nowait(self._line("warning", {"message": lost}))
                self._lost = 0
            self._lines.put_nowait(self._line(kind, data))
        except Full:
            self._lost += 1

    def _write_all(self) -> None:
        while (line := self._lines.get()) is not None:
            with suppress(OSError):  # whoever read it has gone
                self._out.out(line, highlight=False)
                self._out.file.flush()


def described(front: Front) -> str:
    """The counts so far, in one line."""
    now = front.progress()
    return (
        f"{now.taken:,} packets, {now.held:,} held, {now.dropped:,} dropped, "
        f"{now.bypassed:,} bypassed, {now.late / 1e6:.3f} ms late at most"
    )


def _text(value: object) -> str:
    if isinstance(value, dict):
        return ",".join(f"{name}={each}" for name, each in value.items())
    return " | ".join(map(str, value)) if isinstance(value, list) else str(value)
