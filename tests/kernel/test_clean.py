"""`shaper clean`: dead shapers' rules go, living ones' stay."""

import os
import subprocess
import sys
from collections.abc import Callable

import pytest

from shaper.cli import main
from shaper.live import iptables
from shaper.live.owner import Owner
from shaper.live.rules import Match, Rules

pytestmark = pytest.mark.usefixtures("backend")

Shell = Callable[[str], str]
RuleSet = Callable[[], list[str]]
Capture = pytest.CaptureFixture[str]

INSTALL = "from shaper.live.rules import Match, Rules; Rules(Match(source={source!r}), {queue}).install()"


def install(queue: int, source: str | None = None) -> int:
    """Rules of a process that dies at once; its number."""
    with subprocess.Popen([sys.executable, "-c", INSTALL.format(queue=queue, source=source)]) as process:
        pass
    assert process.returncode == 0
    return process.pid


def test_nothing_to_remove(shell: Shell, rule_set: RuleSet, capsys: Capture) -> None:
    # With iptables-legacy a look at a table makes it, empty.
    shell("iptables-save -t mangle; ip6tables-save -t mangle")
    before = rule_set()
    assert main(["clean"]) == 0
    assert capsys.readouterr().out == "nothing to remove: no rules of shaper's here\n"
    assert rule_set() == before


def test_dead_and_living_owners(shell: Shell, rule_set: RuleSet, capsys: Capture) -> None:
    shell("iptables -t mangle -A INPUT -m comment --comment shaper -j ACCEPT")
    living = Rules(Match(source="::1"), 7)
    living.install()
    before = rule_set()
    dead, other = install(5), install(6, source="127.0.0.1")
    assert main(["clean"]) == 0
    assert sorted(capsys.readouterr().out.splitlines()) == sorted(
        [
            f"removed the IPv4 and IPv6 rules of process {dead}, queue 5",
            f"removed the IPv4 rules of process {other}, queue 6",
            f"left the IPv6 rules of process {os.getpid()}, queue 7: it is running",
        ]
    )
    assert rule_set() == before
    living.remove()
    assert not [line for line in rule_set() if "shaper-" in line]


def test_a_number_that_another_process_got_later(rule_set: RuleSet, capsys: Capture) -> None:
    owner = Owner.here(5)
    earlier = owner._replace(start=owner.start - 1)
    text = Rules(Match(source="127.0.0.1"), 5).text()["ipv4"].replace(str(owner), str(earlier))
    iptables.restore("ipv4", text)
    assert main(["clean"]) == 0
    assert capsys.readouterr().out == f"removed the IPv4 rules of process {os.getpid()}, queue 5\n"
    assert not [line for line in rule_set() if "shaper" in line]


@pytest.mark.parametrize("harm", ["-F INPUT", "-F"])
def test_what_a_flush_left(harm: str, shell: Shell, rule_set: RuleSet) -> None:
    install(5)
    shell(f"iptables -t mangle {harm}")
    assert main(["clean"]) == 0
    assert not [line for line in rule_set() if "shaper" in line]
