"""`shaper clean`: the rules of dead shapers go, those of running ones stay."""

import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack

import pytest

from shaper.cli import main
from shaper.live.rules import iptables
from shaper.live.rules.owner import Owner
from shaper.live.rules.rules import Match, Rules

pytestmark = pytest.mark.usefixtures("backend")

Shell = Callable[[str], str]
RuleSet = Callable[[], list[str]]
Capture = pytest.CaptureFixture[str]

INSTALL = (
    "from shaper.live.rules.rules import *; "
    "Rules(Match(source={source!r}), {queue}).install(); print(flush=True); input()"
)


def die(*rules: tuple[int, str | None]) -> list[int]:
    """Processes that each install rules, for a queue and a source, and die; returns their numbers."""
    with ExitStack() as alive:
        processes = []
        for queue, source in rules:
            program = INSTALL.format(queue=queue, source=source)
            process = subprocess.Popen(
                [sys.executable, "-c", program],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
            processes.append(alive.enter_context(process))
            assert process.stdout is not None
            assert process.stdout.readline() == b"\n"
        for process in processes:
            process.kill()
    return [process.pid for process in processes]


def test_nothing_to_remove(shell: Shell, rule_set: RuleSet, capsys: Capture) -> None:
    # With iptables-legacy, to look at a table creates it, empty.
    shell("iptables-save -t mangle; ip6tables-save -t mangle")
    before = rule_set()
    assert main(["clean"]) == 0
    assert capsys.readouterr().out == "nothing to remove: shaper has no rules here\n"
    assert rule_set() == before


def test_dead_and_living_owners(shell: Shell, rule_set: RuleSet, capsys: Capture) -> None:
    shell("iptables -t mangle -A INPUT -m comment --comment shaper -j ACCEPT")
    living = Rules(Match(source="::1"), 7)
    living.install()
    before = rule_set()
    dead, other = die((5, None), (6, "127.0.0.1"))
    assert main(["clean"]) == 0
    assert sorted(capsys.readouterr().out.splitlines()) == sorted(
        [
            f"removed the IPv4 and IPv6 rules of process {dead}, queue 5",
            f"removed the IPv4 rules of process {other}, queue 6",
            f"kept the IPv6 rules of process {os.getpid()}, queue 7, which is running",
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
    die((5, None))
    shell(f"iptables -t mangle {harm}")
    assert main(["clean"]) == 0
    assert not [line for line in rule_set() if "shaper" in line]
