"""Failures that hunts have found: one file each, which `fates:FILE` reads."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Sequence
from pathlib import Path

from shaper.experiment.hunt.plan import Found, Schedule
from shaper.policy.fate import parse_fates

FOLDER = Path(".shaper/hunt")
"""Where failures are kept unless the user says otherwise."""
TITLE = "# shaper hunt -- "


class Database:
    """The failures of all commands that were hunted from one directory.

    Args:
        folder: need not exist yet.
    """

    def __init__(self, folder: Path = FOLDER) -> None:
        self.folder = folder

    def known(self, command: Sequence[str]) -> list[Schedule]:
        """What was found for this command, the latest first; files that can't be read are left out."""
        title = TITLE + shlex.join(command)
        found = []
        for path in sorted(self.folder.glob("*.fates"), key=lambda path: path.stat().st_mtime_ns, reverse=True):
            try:
                lines = path.read_text(encoding="utf-8").splitlines()
                if lines[:1] == [title]:
                    found.append(parse_fates(str(path)))
            except (OSError, ValueError):
                continue
        return found

    def keep(self, command: Sequence[str], found: Found) -> Path:
        """Write a failure to its file, and return that.

        Raises:
            OSError: it can't be written.
        """
        fates = "\n".join(map(str, found.fates))
        title = TITLE + shlex.join(command)
        key = hashlib.sha256(f"{title}\n{fates}".encode()).hexdigest()[:12]
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{key}.fates"
        path.write_text(f"{title}\n# {found.failure}, {found.failed} of {found.runs}\n{fates}\n", encoding="utf-8")
        return path
