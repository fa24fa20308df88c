"""What was changed during a run, in as few steps as have the same effect, for engines that begin later."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


class Changes:
    """The changes so far; see requests.py for what each of them says."""

    def __init__(self) -> None:
        self._replacement: dict[str, Any] | None = None
        self._options: dict[str, dict[str, str]] = {}  # since then, by stage
        self._is_paused = False

    def add(self, change: dict[str, Any]) -> None:
        """Note one that was carried out."""
        match change["what"]:
            case "replace":
                self._replacement, self._options = change, {}
            case "change":
                self._options.setdefault(change["stage"], {}).update(change["options"])
            case "pause" | "resume" as what:
                self._is_paused = what == "pause"

    @property
    def specs(self) -> tuple[str, ...]:
        """The SPECs that the pipeline was last replaced with; empty if it wasn't."""
        return tuple(self._replacement["specs"]) if self._replacement is not None else ()

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Those that lead from the beginning to what is now, in order."""
        if self._replacement is not None:
            yield self._replacement
        for stage, options in self._options.items():
            yield {"what": "change", "stage": stage, "options": options}
        if self._is_paused:
            yield {"what": "pause"}
