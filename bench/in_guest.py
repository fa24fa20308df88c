"""Runs a script of bench/guest inside the guest that has the real netem (guest/guest.sh)."""

import json
import shlex
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.compiled import BenchError, program
from bench.subjects import HERE, Subject

BOOT = 25
"""About how many seconds the guest takes to boot."""


def in_guest(script: str, *arguments: str, within: int = 900) -> list[dict[str, Any]]:
    """What the script prints, one JSON object a line.

    Args:
        within: how many seconds it may take.

    Raises:
        BenchError: the guest doesn't come up, or the script fails or takes longer.
    """
    line = shlex.join(["sh", str(HERE / "guest" / script), *arguments])
    command = ["bash", str(HERE / "guest/guest.sh"), "run", "-t", str(within), line]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise BenchError(f"the guest ended with {done.returncode}: {done.stderr.strip()[-300:]}")
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def subjects_in_guest(script: str, *arguments: str, subjects: Sequence[Subject]) -> list[dict[str, Any]]:
    """As `in_guest`. The script's last argument is a file with a line per subject: its name, a tab, its command."""
    with tempfile.TemporaryDirectory(dir=Path(program("load")).parent) as folder:
        listed = Path(folder) / "subjects"
        listed.write_text("".join(f"{subject.name}\t{' '.join(subject.command)}\n" for subject in subjects))
        return in_guest(script, *arguments, str(listed))
