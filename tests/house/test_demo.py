"""`./dev demo` shapes two real netcats and says what happened to each packet."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from shaper.live.privileges import CAP_SYS_ADMIN, can

ROOT = Path(__file__).parents[2]


def test_the_demo_spreads_the_burst_of_a_netcat() -> None:
    if not can(CAP_SYS_ADMIN):
        pytest.skip("runs in a network namespace, which needs root")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    command = [ROOT / "demo" / "run"]
    done = subprocess.run(command, env={**os.environ, "PATH": path}, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "the server received: lttng" in done.stdout
    assert all(len(line) <= 80 for line in done.stdout.splitlines())
    went: dict[str, float] = {}
    for packet, time in re.findall(r"client +(handshake-ack|data|fin) .* ([\d.]+)\s*$", done.stdout, re.MULTILINE):
        went.setdefault(packet, float(time))
    assert went["data"] - went["handshake-ack"] > 95
    assert went["fin"] - went["data"] > 95
