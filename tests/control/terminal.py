"""A terminal with a program on it, as a user has one: tmux shows it, and types."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from tests.control.conftest import eventually


class Terminal:
    """A program on a terminal of its own.

    Args:
        folder: for tmux's socket.
        command: the program and its arguments.
        size: columns and lines.
    """

    def __init__(self, folder: Path, *command: str, size: tuple[int, int] = (80, 24)) -> None:
        if shutil.which("tmux") is None:
            pytest.skip("there is no tmux here")
        self._tmux = ("tmux", "-f", "/dev/null", "-S", str(folder / "tmux"))
        columns, lines = map(str, size)
        # The environment of the first window is that of the server, which this starts.
        start = (*self._tmux, "-u", "new-session", "-d", "-x", columns, "-y", lines, *command)
        subprocess.run(start, check=True, env={**os.environ, "TERM": "xterm-256color"})

    def press(self, *keys: str) -> None:
        """Press these keys, as tmux(1) names them."""
        subprocess.run([*self._tmux, "send-keys", *keys], check=True)

    @property
    def text(self) -> str:
        """What it shows, with a space between words; empty if the program has ended."""
        shown = subprocess.run([*self._tmux, "capture-pane", "-p"], capture_output=True, text=True)
        return " ".join(shown.stdout.split())

    def shows(self, text: str) -> bool:
        """Whether it soon shows this."""
        return eventually(lambda: text in self.text)

    @property
    def has_ended(self) -> bool:
        """Whether the program soon ends."""
        return eventually(lambda: subprocess.run([*self._tmux, "has-session"], capture_output=True).returncode != 0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        subprocess.run([*self._tmux, "kill-server"], capture_output=True)
