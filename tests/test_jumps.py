"""Which hooks and interfaces packets are taken from, so that each is taken once."""

from __future__ import annotations

import pytest

from shaper.cli.shaping import hooks_of, interfaces_of
from shaper.errors import UsageError
from shaper.live.rules.rules import Match
from shaper.spec.match import HOOKS, Hook

ETH0 = ["INPUT -i eth0", "OUTPUT -o eth0", "FORWARD -i eth0", "FORWARD -o eth0"]


@pytest.mark.parametrize(
    ("interfaces", "hooks", "ways", "where"),
    [
        (["lo"], HOOKS, ["INPUT -i lo"], "input packets of lo"),
        (["lo"], ["output"], ["OUTPUT -o lo"], "output packets of lo"),
        (["lo"], ["output", "input"], ["INPUT -i lo"], "input packets of lo"),
        (["lo"], ["forward"], [], ""),
        (["eth0"], HOOKS, ETH0, "packets of eth0"),
        (["eth0"], ["forward"], ETH0[2:], "forward packets of eth0"),
        (["eth0"], ["input", "output"], ETH0[:2], "input and output packets of eth0"),
        (["eth0", "lo"], HOOKS, [*ETH0, "INPUT -i lo"], "packets of eth0, lo"),
        (["eth0", "lo"], ["forward"], ETH0[2:], "forward packets of eth0, lo"),
        (["any"], HOOKS, ["INPUT", "OUTPUT ! -o lo", "FORWARD"], "packets of all interfaces"),
        (["any"], ["output"], ["OUTPUT"], "output packets of all interfaces"),
        (["eth0", "any", "lo"], ["input"], ["INPUT"], "input packets of all interfaces"),
    ],
)
def test_ways(interfaces: list[str], hooks: list[Hook], ways: list[str], where: str) -> None:
    match = Match(tuple(interfaces), tuple(hooks))
    assert [way for _, way in match.jumps] == ways
    if ways:
        assert match.where == where
    else:
        with pytest.raises(UsageError, match=r"never forwarded"):
            match.check()


def test_all_traffic_of_a_real_interface_is_asked_for_twice() -> None:
    assert not Match().takes_all
    assert Match(("eth0",)).takes_all
    assert Match(("lo", "eth0")).takes_all
    assert Match(("any",)).takes_all
    assert not Match(("any",), host="10.0.0.1").takes_all


def test_some_of_the_interfaces_may_come_later() -> None:
    Match(("later", "lo")).check()
    Match(("any",)).check()
    with pytest.raises(UsageError, match=r"^there is no interface 'later' or 'never'; there are .*\blo\b"):
        Match(("later", "never")).check()


def test_lists_of_a_command_line() -> None:
    assert interfaces_of(None) == ("lo",)
    assert interfaces_of(["eth0,eth1", "lo", "eth0"]) == ("eth0", "eth1", "lo")
    assert hooks_of(None) == HOOKS
    assert hooks_of(["output, input", "output"]) == ("output", "input")
    # iptables takes a plus for the beginning of many names.
    for name in ("", "eth+", "eth0,", "a b", "sixteen-letters-"):
        with pytest.raises(UsageError, match=r"^--interface: '.*' is not the name of an interface, such as eth0$"):
            interfaces_of([name])
    with pytest.raises(UsageError, match=r"^--hook: 'inptu' is none of input, output, forward$"):
        hooks_of(["inptu"])
