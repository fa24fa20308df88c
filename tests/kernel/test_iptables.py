"""The messages when iptables is missing, refuses or fails."""

import os
import subprocess
import sys

import pytest

from shaper.live.rules import iptables
from shaper.live.rules.iptables import RulesError
from shaper.live.rules.rules import Match, Rules

pytestmark = pytest.mark.usefixtures("network")


def test_no_iptables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(iptables, "find", lambda name: None)
    with pytest.raises(RulesError, match=r"^iptables-save is not installed: apt install iptables$"):
        Rules(Match(), 7).install()


@pytest.mark.usefixtures("backend")
def test_no_permission() -> None:
    program = "from shaper.live.rules.rules import *; Rules(Match(), 7).install()"
    done = subprocess.run(
        ["setpriv", "--bounding-set", "-net_admin", sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
    )
    assert done.stderr.splitlines()[-1] == (
        "shaper.live.rules.iptables.RulesError: no permission to change packet filter rules; "
        "root lacks CAP_NET_ADMIN here: start the container with `--cap-add NET_ADMIN` (docker, podman); "
        "`shaper run` needs none"
    )


@pytest.mark.parametrize(
    ("stderr", "status", "line"),
    [
        (
            "Warning: Extension bpf revision 0 not supported, missing kernel module?\np: line 3 failed\n",
            1,
            "p: this system has no 'bpf' extension; `shaper doctor` says more",
        ),
        (
            "iptables-restore v1.8.9 (legacy): Couldn't load target `NFQUEUE':No such file or directory\n\nError occ",
            2,
            "p: this system has no 'NFQUEUE' extension; `shaper doctor` says more",
        ),
        (
            "p v1.8.9 (nf_tables): \nline 2: RULE_APPEND failed (Invalid argument): rule in chain INPUT\n",
            4,
            "p: line 2: RULE_APPEND failed (Invalid argument): rule in chain INPUT",
        ),
        ("", 1, "p: it failed with status 1"),
        ("", -9, "p: a signal ended it: Killed"),
    ],
)
def test_what_iptables_says_becomes_one_line(stderr: str, status: int, line: str) -> None:
    assert iptables.explain("p", stderr, status) == line
