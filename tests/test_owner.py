"""Whose rule it is, by its comment, and whether its owner is alive."""

import os
import subprocess
import sys

import pytest

from shaper.live.rules.owner import Owner


def test_the_name_on_a_rule_is_read_back() -> None:
    owner = Owner.here(7)
    rule = f'-A INPUT -i lo -m comment --comment "{owner}" -j {owner.chain}'
    assert Owner.named_in(rule) == owner
    assert Owner.named_in(rule.replace('"', "")) == owner
    assert (owner.queue, owner.pid) == (7, os.getpid())


@pytest.mark.parametrize("comment", ["", "--comment other", "--comment shaper:1:2", '--comment "not shaper:1:2:3:4"'])
def test_rules_of_others(comment: str) -> None:
    assert Owner.named_in(f"-A INPUT -m comment {comment} -j DROP") is None


def test_alive() -> None:
    assert Owner.here(7).alive() is True


def test_dead() -> None:
    with subprocess.Popen(["true"]) as child:
        # A zombie, until it is waited for, or already gone.
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        owner = Owner.unnamed(7, child.pid)
        assert owner._replace(start=owner.start).alive() is False
    assert owner.alive() is False


def test_another_process_with_the_same_number_is_not_the_owner() -> None:
    here = Owner.here(7)
    assert here._replace(start=here.start - 1).alive() is False


def test_whether_a_process_of_another_pid_namespace_is_alive_is_unknown() -> None:
    here = Owner.here(7)
    assert here._replace(namespace=here.namespace + 1).alive() is None


def test_a_name_with_spaces_and_brackets() -> None:
    program = "open('/proc/self/comm', 'w').write('a) Z (b 1 2'); from shaper.live.rules.owner import Owner; "
    program += "assert Owner.here(1).start > 0; assert Owner.here(1).alive()"
    subprocess.run([sys.executable, "-c", program], check=True)
