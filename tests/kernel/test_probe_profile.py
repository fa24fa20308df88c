"""`shaper probe` and `shaper compare` on the network of a profile, with phases that follow each other."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.kernel.test_profile import SHAPER

PHASES = """
about = "A path that becomes quick"

[[phase]]
for = "60ms"
policies = ["delay:time=50ms"]

[[phase]]
policies = ["delay:time=1ms"]
"""


def profile(tmp_path: Path) -> str:
    file = tmp_path / "quicker.toml"
    file.write_text(PHASES)
    return str(file)


def test_the_phases_of_a_probe_follow_each_other(tmp_path: Path) -> None:
    command = [*SHAPER, "probe", "--profile", profile(tmp_path), "--repeat", "2", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    document = json.loads(done.stdout)
    assert document["policies"] == ["delay:time=50ms"]
    accepts = [wait for wait in document["blockings"] if wait["syscall"] == "accept4"]
    assert len(accepts) == 2
    wanted = {"syn": 50, "synack": 50, "handshake-ack": 1}
    for accept in accepts:
        # The ACK comes after 100 ms, in the second phase; the next run begins with the first one again.
        holds = {hold["class"]: hold["hold_ms"] for hold in accept["held"]}
        assert holds == {name: pytest.approx(ms, abs=20) for name, ms in wanted.items()}


def test_a_profile_is_a_condition(tmp_path: Path) -> None:
    command = [*SHAPER, "compare", "--profile", profile(tmp_path), "--repeat", "1", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    cells = [row["cells"] for row in json.loads(done.stdout)["rows"]]
    assert all(set(each) == {"none", "quicker"} for each in cells)
    assert max(each["quicker"]["median_ms"] for each in cells) >= 45
