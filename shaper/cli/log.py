"""What a long run says: a line a minute and at each change of state, with the time, for people or for machines."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from rich.console import Console

    from shaper.live.front.front import Front
    from shaper.live.state import Kind

LogFormat = Literal["text", "json"]
"""Lines for people, or JSON lines."""
INTERVAL = 60
"""Seconds between two lines with the counts."""


class Log:
    """Writes the lines of one run.

    Args:
        out: where they go.
        form: as what.
        front: of the run.
    """

    def __init__(self, out: Console, form: LogFormat, front: Front) -> None:
        self._out, self._form, self._front = out, form, front

    def counts(self) -> None:
        """Write a line with the counts so far."""
        now = self._front.progress()
        if self._form == "json":
            self._write("counts", now._asdict())
        else:
            self._write("counts", {"message": described(self._front)})

    def happened(self, kind: Kind, data: dict[str, Any]) -> None:
        """Write a line about something that has happened."""
        if self._form == "json" or (kind in ("change", "state") and data.get("state") != "stopping"):
            self._write(kind, data)

    def _write(self, kind: str, data: dict[str, Any]) -> None:
        from shaper.live.state import time_of_day

        if self._form == "json":
            line = json.dumps({"time": time_of_day(), "kind": kind, **data})
        else:
            what = data.get("message") or " ".join(map(_text, data.values()))
            line = f"{time_of_day()} {what if kind == 'change' else f'{kind}: {what}'}"
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
