"""The files for CI systems are valid, and their commands run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

CONTRIB = Path(__file__).parents[2] / "contrib"


def github() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((CONTRIB / "github/action.yml").read_text())
    return loaded


def gitlab() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((CONTRIB / "gitlab/shaper.yml").read_text())
    return loaded


SCRIPTS = {
    "github": "\n".join(step["run"] for step in github()["runs"]["steps"]),
    "gitlab": "\n".join(gitlab()[".shaper"]["before_script"]),
}


def test_the_action_has_what_a_composite_action_needs() -> None:
    action = github()
    assert {"name", "description", "runs"} <= set(action)
    assert action["runs"]["using"] == "composite"
    assert all({"shell", "run"} <= set(step) for step in action["runs"]["steps"])
    assert action["inputs"]["package"]["default"] == gitlab()[".shaper"]["variables"]["PACKAGE"]


@pytest.mark.parametrize("system", SCRIPTS)
def test_its_commands_run(system: str, tmp_path: Path) -> None:
    # What would change this machine is only noted.
    for name in ("apt-get", "sysctl", "modprobe", "sudo", "python"):
        program = tmp_path / name
        text = 'exec "$@"' if name == "sudo" else f'echo "{name} $*" >>{tmp_path}/called'
        program.write_text(f"#!/bin/sh\n{text}\n")
        program.chmod(0o755)
    path = f"{tmp_path}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["sh", "-e", "-c", SCRIPTS[system]],
        env={**os.environ, "PATH": path, "PACKAGE": "nfq-shaper[test]"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "kernel queue" in done.stdout
    called = (tmp_path / "called").read_text().splitlines()
    assert called[0] == "apt-get update -qq"
    assert called[1].split()[-1] == "iptables"
    assert called[-1] == "python -m pip install nfq-shaper[test]"
