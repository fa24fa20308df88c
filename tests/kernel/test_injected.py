"""Packets that policies made go where the packets they were made from go: whatever their size and address."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kernel.conftest import Shell
from tests.kernel.hosts import Host, link_local
from tests.kernel.shaping import Receiver, Shaper

pytestmark = pytest.mark.usefixtures("network")

DUPLICATE = ("--policy", "duplicate:100%", "--port", "9000")
INPUT = ("--hook", "input", "--interface", "one")
OUTPUT = ("--hook", "output", "--interface", "one")
LARGE = bytes(range(250)) * 12
SO_BINDTODEVICE = 25  # asm-generic/socket.h
ADDRESSES = {
    "broadcast": "10.1.0.255",
    "limited broadcast": "255.255.255.255",
    "multicast": "239.1.2.3",
    "multicast on the link": "224.0.0.77",
    "IPv6 multicast": "ff05::7",
    "IPv6 multicast on the link": "ff02::7",
}


@pytest.fixture
def one(network: None) -> Iterator[Host]:
    """A host beyond our interface `one`."""
    with Host("one", ["10.1.0.1/24", "fd01::1/64"], ["10.1.0.2/24", "fd01::2/64"]) as host:
        yield host


@pytest.fixture
def two(network: None) -> Iterator[Host]:
    """A host beyond our interface `two`."""
    with Host("two", ["10.2.0.1/24", "fd02::1/64"], ["10.2.0.2/24", "fd02::2/64"]) as host:
        yield host


def family(address: str) -> int:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def bound(made: socket.socket, interface: str | None = None) -> socket.socket:
    """The socket, on port 9000; with an interface it joins the multicast groups of ADDRESSES there."""
    made.settimeout(20)
    made.bind(("", 9000))
    if interface is not None:
        index = socket.if_nametoindex(interface)
        for group in (address for name, address in ADDRESSES.items() if "multicast" in name):
            packed = socket.inet_pton(family(group), group)
            if family(group) != made.family:
                continue
            if made.family == socket.AF_INET:
                made.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, struct.pack("=4s4xi", packed, index))
            else:
                made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, struct.pack("=16si", packed, index))
    return made


def sender_to_all(made: socket.socket, interface: str) -> socket.socket:
    """The socket, which sends broadcasts and multicasts through an interface."""
    made.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    made.setsockopt(socket.SOL_SOCKET, SO_BINDTODEVICE, interface.encode())
    if made.family == socket.AF_INET:
        made.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 9)
    else:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 9)
    return made


def received(receiver: socket.socket, count: int) -> list[bytes]:
    """The next datagrams, and what has come behind them."""
    found = [receiver.recv(65536) for _ in range(count)]
    receiver.setblocking(False)
    try:
        while True:
            found.append(receiver.recv(65536))
    except BlockingIOError:
        return found


NUMBERS = [bytes((number,)) for number in range(5)]
FAMILIES = (socket.AF_INET, socket.AF_INET6)


@pytest.mark.parametrize("kind", FAMILIES)
def test_broadcasts_and_multicasts_that_come_in_are_copied_here_alone(tmp_path: Path, one: Host, kind: int) -> None:
    receiver = bound(socket.socket(kind, socket.SOCK_DGRAM), "one")
    with one.inside():
        sender = sender_to_all(socket.socket(kind, socket.SOCK_DGRAM), "eth0")
        others = bound(socket.socket(kind, socket.SOCK_DGRAM), "eth0")
    addresses = [address for address in ADDRESSES.values() if family(address) == kind]
    with receiver, sender, others, Shaper(tmp_path, *DUPLICATE, *INPUT) as shaper:
        for address in addresses:
            for number in NUMBERS:
                sender.sendto(number, (address, 9000))
            assert sorted(receiver.recv(100) for _ in range(10)) == sorted(2 * NUMBERS)
            # The sender's own host gets what it sent, and none of our copies.
            assert [others.recv(100) for _ in NUMBERS] == NUMBERS
        summary = shaper.stop()
        assert received(receiver, 0) == received(others, 0) == []
    assert (shaper.status, summary["injected"]) == (0, len(addresses) * 5), shaper.errors


@pytest.mark.parametrize("kind", FAMILIES)
def test_broadcasts_and_multicasts_that_leave_are_copied_on_their_interface(
    tmp_path: Path, one: Host, two: Host, kind: int
) -> None:
    with one.inside():
        receiver = bound(socket.socket(kind, socket.SOCK_DGRAM), "eth0")
    with two.inside():
        elsewhere = bound(socket.socket(kind, socket.SOCK_DGRAM), "eth0")
    sender = sender_to_all(socket.socket(kind, socket.SOCK_DGRAM), "one")
    addresses = [address for address in ADDRESSES.values() if family(address) == kind]
    with receiver, elsewhere, sender, Shaper(tmp_path, *DUPLICATE, *OUTPUT) as shaper:
        for address in addresses:
            for number in NUMBERS:
                sender.sendto(number, (address, 9000))
            assert sorted(receiver.recv(100) for _ in range(10)) == sorted(2 * NUMBERS)
        summary = shaper.stop()
        assert received(receiver, 0) == received(elsewhere, 0) == []
    assert (shaper.status, summary["injected"]) == (0, len(addresses) * 5), shaper.errors


TRACKED = "for t in iptables ip6tables; do $t -A INPUT -m conntrack --ctstate INVALID -j DROP; done"
"""Connection tracking puts fragments together before they get to a hook; without it a policy copies each of them."""


@pytest.mark.parametrize(("address", "rules"), [("127.0.0.1", ":"), ("127.0.0.1", TRACKED), ("::1", TRACKED)])
def test_a_datagram_above_the_mtu_of_lo_is_copied(tmp_path: Path, shell: Shell, address: str, rules: str) -> None:
    shell(f"ip link set lo mtu 1500; {rules}")
    with Receiver(address) as receiver, Shaper(tmp_path, "--policy", "duplicate:100%") as shaper:
        receiver.sender.send(LARGE)
        assert [receiver.recv(65536) for _ in range(2)] == [LARGE] * 2
        shaper.stop()
    assert shaper.status == 0, shaper.errors


@pytest.mark.parametrize(
    ("hook", "address", "rules"),
    [
        *(("output", address, rules) for address in ("10.2.0.2", "fd02::2") for rules in (":", TRACKED)),
        *((hook, address, TRACKED) for hook in ("input", "forward") for address in ("10.2.0.2", "fd02::2")),
        ("input", "10.2.0.2", ":"),
    ],
)
def test_a_datagram_above_the_mtu_of_a_link_is_copied(
    tmp_path: Path, one: Host, two: Host, shell: Shell, hook: str, address: str, rules: str
) -> None:
    shell(f"sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1; {rules}")
    kind = family(address), socket.SOCK_DGRAM
    ours = {"10.2.0.2": "10.1.0.1", "fd02::2": "fd01::1"}[address]
    receiver = bound(socket.socket(*kind) if hook == "input" else two.socket(*kind))
    sender = socket.socket(*kind) if hook == "output" else one.socket(*kind)
    interface = {"input": "one", "output": "two", "forward": "one"}[hook]
    options = ("--hook", hook, "--interface", interface, "--protocol", "udp", "--yes")
    with receiver, sender, Shaper(tmp_path, "--policy", "duplicate:100%", *options) as shaper:
        sender.sendto(LARGE, (ours if hook == "input" else address, 9000))
        assert [receiver.recv(65536) for _ in range(2)] == [LARGE] * 2
        summary = shaper.stop()
    assert (shaper.status, summary["not_injected"]) == (0, 0), shaper.errors


@pytest.mark.parametrize("hook", ["input", "output"])
def test_link_local_addresses(tmp_path: Path, one: Host, hook: str) -> None:
    kind = socket.AF_INET6, socket.SOCK_DGRAM
    here, there = bound(socket.socket(*kind)), bound(one.socket(*kind))
    ours, our_index = link_local("one")
    with one.inside():
        its, its_index = link_local("eth0")
    with here, there, Shaper(tmp_path, *DUPLICATE, *(INPUT if hook == "input" else OUTPUT)) as shaper:
        receiver = here if hook == "input" else there
        if hook == "input":
            there.sendto(b"x", (ours, 9000, 0, its_index))
        else:
            here.sendto(b"x", (its, 9000, 0, our_index))
        assert [receiver.recv(100) for _ in range(2)] == [b"x"] * 2
        shaper.stop()
    assert shaper.status == 0, shaper.errors


@pytest.mark.parametrize("address", ["10.9.0.9", "fd09::9"])
def test_copies_leave_through_the_interface_of_a_socket_bound_to_it(
    tmp_path: Path, one: Host, two: Host, shell: Shell, address: str
) -> None:
    """Of two ways the route of the copies alone would be the other one."""
    shell("ip route add default via 10.2.0.2; ip -6 route add default via fd02::2")
    shell("ip route add default via 10.1.0.2 metric 5000; ip -6 route add default via fd01::2 metric 5000")
    with one.inside():
        shell(f"ip addr add {address} dev lo")
    kind = family(address), socket.SOCK_DGRAM
    receiver, sender = bound(one.socket(*kind)), socket.socket(*kind)
    sender.setsockopt(socket.SOL_SOCKET, SO_BINDTODEVICE, b"one")
    with receiver, sender, Shaper(tmp_path, *DUPLICATE, *OUTPUT) as shaper:
        sender.sendto(b"x", (address, 9000))
        assert [receiver.recv(100) for _ in range(2)] == [b"x"] * 2
        shaper.stop()
    assert shaper.status == 0, shaper.errors


@pytest.mark.parametrize("address", ["10.1.0.1", "fd01::1"])
def test_copies_come_in_to_a_socket_bound_to_the_interface(tmp_path: Path, one: Host, address: str) -> None:
    kind = family(address), socket.SOCK_DGRAM
    receiver, sender = socket.socket(*kind), one.socket(*kind)
    receiver.setsockopt(socket.SOL_SOCKET, SO_BINDTODEVICE, b"one")
    with bound(receiver), sender, Shaper(tmp_path, *DUPLICATE, *INPUT) as shaper:
        sender.sendto(b"x", (address, 9000))
        assert [receiver.recv(100) for _ in range(2)] == [b"x"] * 2
        shaper.stop()
    assert shaper.status == 0, shaper.errors


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_copies_of_uncut_packets_have_their_checksum(tmp_path: Path, network: None, address: str) -> None:
    with Receiver(address) as receiver, Shaper(tmp_path, "--policy", "duplicate:100%", "--gso") as shaper:
        receiver.send_numbers(5, bytes(100))
        assert receiver.numbers(10) == [number for number in range(5) for _ in range(2)]
        shaper.stop()
