"""Completion in the shells themselves: what becomes of a line when its user presses Tab."""

import os
import pty
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from release.deb import COMPLETIONS, completion

LINES = {
    "shaper help prof": "shaper help profiles ",
    "shaper run --policy spread_b": "shaper run --policy spread_burst ",
}
"""What is typed, and what it becomes."""
SETUP = {
    "bash": """source ./shaper; bind -x '"\\C-x": echo "$READLINE_LINE" >> lines; READLINE_LINE='""",
    "zsh": """
        fpath=($PWD $fpath); autoload -Uz compinit; compinit -D -u
        show() { print -r -- "$BUFFER" >> lines; BUFFER= }; zle -N show; bindkey '^X' show
    """,
}
"""Read the file as the shell does; let Ctrl-X write the line into a file, and empty it."""
BARE = {"bash": ("--norc",), "zsh": ("-f",)}


def needs(shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"needs {shell}: apt-get install {shell}")


def environment(folder: Path) -> dict[str, str]:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "HOME": str(folder), "TERM": "dumb"}


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_a_shell_completes_a_line(shell: str, tmp_path: Path) -> None:
    needs(shell)
    (tmp_path / "setup").write_text(SETUP[shell])
    (tmp_path / Path(COMPLETIONS[shell]).name).write_text(completion(shell))
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [shell, *BARE[shell], "-i"],
        cwd=tmp_path,
        env=environment(tmp_path),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    written, within = tmp_path / "lines", time.monotonic() + 60
    try:
        os.write(ours, b"source ./setup\n")
        for number, line in enumerate(LINES, 1):
            os.write(ours, f"{line}\t\x18".encode())
            while not (written.exists() and written.read_text().count("\n") == number):
                assert time.monotonic() < within, f"{line}: {os.read(ours, 1 << 16)!r}"
                time.sleep(0.01)
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    assert written.read_text().splitlines() == list(LINES.values())


def test_fish_completes_a_line(tmp_path: Path) -> None:
    needs("fish")
    asked = "".join(f"complete --do-complete '{line}'\n" for line in LINES)
    done = subprocess.run(
        ["fish", "--no-config", "-c", f"{completion('fish')}\n{asked}"],
        cwd=tmp_path,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
    )
    found = [line.partition("\t")[0] for line in done.stdout.splitlines()]
    assert found == [line.split()[-1] for line in LINES.values()], done
