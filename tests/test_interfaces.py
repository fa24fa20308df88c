"""Interfaces that go and come."""

from __future__ import annotations

from shaper.live.front.interfaces import Interfaces


def test_it_says_what_goes_and_comes() -> None:
    interfaces = Interfaces(["eth0", "eth1", "any"], {"lo": 1, "eth0": 2})
    assert interfaces.missing == ["eth1"]
    assert interfaces.look({"lo": 1, "eth0": 2}) == []
    assert interfaces.look({"lo": 1, "eth0": 2, "eth1": 3}) == ["the interface eth1 is there now"]
    assert interfaces.look({"lo": 1, "eth1": 3}) == [
        "the interface eth0 is gone; its packets are shaped again when it is back"
    ]
    assert interfaces.missing == ["eth0"]
    assert interfaces.look({"lo": 1, "eth1": 4, "eth0": 5}) == [
        "the interface eth0 is back",
        "the interface eth1 was gone, and is back",
    ]
    assert (interfaces.missing, interfaces.gone) == ([], {"eth0": 1, "eth1": 1})
