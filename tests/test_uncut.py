"""Which settings take TCP segments uncut."""

from pathlib import Path
from typing import Any

import pytest

from shaper.live.rules.rules import Match
from shaper.live.settings import Capture, Settings
from shaper.spec.load import builtin_names, load

LO = Match(("lo",))


def is_uncut(*specs: str, match: Match = LO, **settings: Any) -> bool:
    made = Settings(tuple(map(load, specs)), match, **{"gso": None, **settings})
    return made.takes_uncut(made.policies)


@pytest.mark.parametrize("spec", ["delay:20ms", "delay:20ms,direction=reply", "pass_through"])
def test_policies_that_only_look_at_the_clock_allow_it(spec: str) -> None:
    assert is_uncut(spec)
    assert is_uncut(spec, "delay:1ms")
    assert not is_uncut(spec, "loss:1%")


def test_all_other_policies_do_not() -> None:
    uncut = {name for name in builtin_names() if load(name).takes_uncut}
    assert uncut == {"delay", "pass_through"}


@pytest.mark.parametrize("options", ["jitter=1ms", "reorder=1%", "rate=1mbit", "limit=10", "only=data"])
def test_options_that_look_at_packets_do_not(options: str) -> None:
    assert not is_uncut(f"delay:20ms,{options}")


def test_the_user_has_the_last_word() -> None:
    assert is_uncut("loss:1%", gso=True)
    assert not is_uncut("delay:20ms", gso=False)


def test_where_each_packet_is_shown_or_goes_out_segments_are_cut() -> None:
    assert not is_uncut("delay:20ms", journal=Path("journal"))
    assert not is_uncut("delay:20ms", captures=(Capture(Path("all.pcapng"), ()),))
    assert not is_uncut("delay:20ms", marks=3)
    assert not is_uncut("delay:20ms", match=Match(("eth0",)))
    assert is_uncut("delay:20ms", match=Match(("eth0",), ("input",)))
    assert is_uncut("delay:20ms", match=Match(("eth0",)), install_rules=False)
