"""`./dev demo` shapes two real netcats and says what happened to each packet."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_demo_spreads_the_burst_of_a_netcat(namespaces: None, tmp_path: Path) -> None:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    command = [ROOT / "demo" / "run"]
    environment = {**os.environ, "PATH": path}
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr
    assert "the server received: lttng" in done.stdout
    assert all(len(line) <= 80 for line in done.stdout.splitlines())
    went: dict[str, float] = {}
    for packet, time in re.findall(r"client +(handshake-ack|data|fin) .* ([\d.]+)\s*$", done.stdout, re.MULTILINE):
        went.setdefault(packet, float(time))
    # 100 ms; the first of two may be late on a busy machine.
    assert went["data"] - went["handshake-ack"] > 60
    assert went["fin"] - went["data"] > 60
    # It ends with the comparison and its picture.
    assert done.stdout.count("hidden by netem: server poll") == 2
    assert (tmp_path / "compare.svg").read_text().startswith("<?xml")
