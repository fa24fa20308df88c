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


@pytest.mark.parametrize(
    ("said", "what"),
    [
        (
            "Warning: Extension NFQUEUE revision 0 not supported, missing kernel module?\n",
            "this system has no 'NFQUEUE'",
        ),
        (
            "iptables/1.8.9 Failed to initialize nft: Protocol not supported\n",
            "has no nf_tables (try `modprobe nf_tables`)",
        ),
        (
            "iptables-restore v1.8.9 (nf_tables): Could not fetch rule set generation id: Invalid argument\n",
            "no nf_tables",
        ),
        (
            "iptables-restore v1.8.9 (legacy): iptables-restore: unable to initialize table 'mangle'\n",
            "no mangle table",
        ),
    ],
)
def test_what_the_kernel_lacks_is_one_line(said: str, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(iptables, "can", lambda capability: True)
    line = iptables.explain("iptables-restore", f"{said}Error occurred at line: 1\n", 1)
    assert what in line
    assert line.endswith("; `shaper doctor` says more")
    assert "\n" not in line
