"""What the house rules ask of every file and no linter checks."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINES = 400
"""A longer file is a sign that a room is missing."""
OPEN_ENDS = re.compile(rf"\b({'TO' + 'DO'}|{'FIX' + 'ME'}|{'X' * 3})\b")

FILES = [
    Path(name)
    for name in subprocess.run(
        ["git", "-c", f"safe.directory={ROOT}", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.splitlines()
    if (ROOT / name).is_file()
]
SOURCES = [path for path in FILES if path.suffix == ".py" and path.parts[0] in ("shaper", "policies")]


@pytest.mark.parametrize("path", SOURCES, ids=str)
def test_files_are_small(path: Path) -> None:
    lines = len((ROOT / path).read_text().splitlines())
    assert lines <= LINES, f"{path} has {lines} lines; which part of it is a subject of its own?"


@pytest.mark.parametrize(
    "path", [path for path in FILES if path.suffix in (".py", ".md", ".sh") or path.name == "dev"], ids=str
)
def test_nothing_is_left_open_or_switched_off(path: Path) -> None:
    text = (ROOT / path).read_text()
    assert not OPEN_ENDS.search(text)
    for mark in ("type" + ": ignore", "no" + "qa", "mark." + "skip(", "mark." + "xfail"):
        assert mark not in text


def test_shell_scripts_can_be_read_by_any_shell() -> None:
    for script in ("dev", ".ci/run"):
        subprocess.run(["dash", "-n", ROOT / script], check=True)
        assert (ROOT / script).read_text().startswith("#!/bin/sh\n")
