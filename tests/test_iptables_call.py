"""How iptables is called: what the terminal does to shaper must not reach it."""

import os
from pathlib import Path

import pytest

from shaper.live.rules import iptables


def test_ctrl_c_does_not_reach_iptables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C is a signal to a whole process group, so a program in one of its own never gets it."""
    program = tmp_path / "iptables-save"
    program.write_text("#!/bin/sh\nexec cut -d ' ' -f 1,5 /proc/self/stat\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    ((pid, group),) = (line.split() for line in iptables.save("ipv4"))
    assert group == pid
    assert int(group) != os.getpgrp()
