"""Where the traffic is, by sockets and interfaces."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from shaper.linux.sockets import ESTABLISHED, LISTENING, SocketEntry
from shaper.live.front.unmatched import where_interfaces, where_ports

ADDRESSES = {ip_address("127.0.0.1"): "lo", ip_address("10.1.0.1"): "eth0", ip_address("fd01::1"): "eth1"}


def entry(local: str, remote: str = "") -> SocketEntry:
    """A socket at this address, port 443, that listens, or whose peer is at the other address."""
    if not remote:
        return SocketEntry(ip_address(local), 443, ip_address("0.0.0.0"), 0, LISTENING, 0)
    return SocketEntry(ip_address(local), 443, ip_address(remote), 40000, ESTABLISHED, 0)


@pytest.mark.parametrize(
    ("used", "said"),
    [
        ([], "no socket here uses port 443"),
        ([entry("0.0.0.0")], "a server listens at port 443, but nobody is connected"),
        (
            [entry("0.0.0.0"), entry("10.1.0.1", "10.1.0.9")],
            "sockets that use port 443: 1 on eth0; try --interface eth0",
        ),
        (
            [entry("10.1.0.1", "10.1.0.9"), entry("fd01::1", "fd01::9"), entry("fd01::1", "fd01::8")],
            "sockets that use port 443: 2 on eth1, 1 on eth0; try --interface eth1",
        ),
        # Between two addresses of this machine, packets pass lo.
        ([entry("10.1.0.1", "10.1.0.1")], "sockets that use port 443: 1 on lo, and nothing passes"),
        # Nobody knows the interface of this one.
        ([entry("10.9.0.1", "10.9.0.2")], "no socket here uses port 443"),
    ],
)
def test_ports(used: list[SocketEntry], said: str) -> None:
    assert where_ports((443,), used, ADDRESSES, ["lo"]) == said


@pytest.mark.parametrize(
    ("now", "said"),
    [
        ({"lo": 10, "eth0": 5}, "no interface has a packet more than when it began"),
        ({"lo": 1010, "eth0": 9}, "1,000 packets passed lo, but none of those that are to be shaped"),
        (
            {"lo": 10, "eth0": 6, "eth1": 3},
            "none passed lo; 3 packets passed eth1, 1 eth0; try --interface eth1",
        ),
    ],
)
def test_interfaces(now: dict[str, int], said: str) -> None:
    assert where_interfaces(["lo"], {"lo": 10, "eth0": 5}, now) == said


def test_several_interfaces() -> None:
    used = [entry("10.1.0.1", "10.1.0.9"), entry("fd01::1", "fd01::9")]
    said = "sockets that use port 443: 1 on eth0, 1 on eth1, and nothing passes"
    assert (
        where_ports((443,), used, ADDRESSES, ["eth0", "eth1"]) == where_ports((443,), used, ADDRESSES, ["any"]) == said
    )
    passed = "2 packets passed lo, 1 eth0, but none of those that are to be shaped"
    assert where_interfaces(["any"], {}, {"lo": 2, "eth0": 1}) == passed
    none = "none passed eth1 or eth2; 2 packets passed lo, 1 eth0; try --interface lo"
    assert where_interfaces(["eth1", "eth2"], {}, {"lo": 2, "eth0": 1}) == none
