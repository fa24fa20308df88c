"""Rules in a real kernel: what they queue, what they leave alone, and that none of them remains."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from netfilterqueue import NetfilterQueue, Packet

from shaper.errors import UsageError
from shaper.live.rules import chain, iptables
from shaper.live.rules.iptables import RulesError
from shaper.live.rules.owner import Owner
from shaper.live.rules.rules import INJECT_MARK, Match, Rules

pytestmark = pytest.mark.usefixtures("network")

Shell = Callable[[str], str]
RuleSet = Callable[[], list[str]]
MATCHES = [
    Match(),
    Match(protocol="icmp"),
    Match(hooks=("output",), protocol="tcp", ports=(22, 8765)),
    Match(hooks=("forward",), interfaces=("veth0",), source="10.0.0.0/8"),
    Match(ports=(53,), destination="::1", filter="udp and greater 100"),
    Match(hooks=("forward",), interfaces=("veth0",), ports=(53,), filter="greater 100"),
    Match(ports=(53,), host="192.0.2.0/24"),
]


def send(count: int, address: str, port: int, mark: int = 0) -> None:
    """Send UDP datagrams that nobody receives."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sender:
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
        for _ in range(count):
            sender.sendto(b"x", (address, port))


@pytest.fixture
def others(backend: str, shell: Shell) -> None:
    """Rules of somebody else, and an interface."""
    shell("ip link add veth0 type veth peer name veth1")
    for command in ("iptables", "ip6tables"):
        shell(f"{command} -t mangle -N theirs; {command} -t mangle -A INPUT -p tcp -j theirs")
        shell(f"{command} -A INPUT -p udp --dport 1 -m comment --comment 'not shaper' -j DROP")


@pytest.mark.usefixtures("others")
@pytest.mark.parametrize("match", MATCHES)
def test_removal_leaves_no_trace(match: Match, rule_set: RuleSet) -> None:
    before = rule_set()
    rules = Rules(match, 7)
    rules.install()
    assert len(rule_set()) > len(before)
    rules.remove()
    assert rule_set() == before


@pytest.mark.usefixtures("others")
@pytest.mark.parametrize("harm", ["-F INPUT", "-F", "-F; iptables -t mangle -X {chain}"])
def test_removal_when_others_removed_some_already(harm: str, rule_set: RuleSet, shell: Shell) -> None:
    rules = Rules(Match(), 7)
    rules.install()
    shell(f"iptables -t mangle {harm.format(chain=Owner.here(7).chain)}")
    rules.remove()
    rules.remove()
    assert not [line for line in rule_set() if "shaper-" in line]


@pytest.mark.usefixtures("backend")
def test_rules_of_a_dead_shaper_take_no_packets_from_a_new_one() -> None:
    program = "from shaper.live.rules.rules import *; Rules(Match(), 6).install()"
    subprocess.run([sys.executable, "-c", program], check=True)
    rules = Rules(Match(protocol="udp"), 7)
    rules.install()
    send(10, "127.0.0.1", 9000)
    assert rules.look().packets == 10


@pytest.mark.usefixtures("backend")
def test_detached_rules_can_still_be_counted(rule_set: RuleSet) -> None:
    rules = Rules(Match(protocol="udp"), 7)
    rules.install()
    send(10, "::1", 9000)
    rules.detach()
    send(10, "::1", 9000)
    assert rules.look().packets == 10
    rules.remove()
    assert not [line for line in rule_set() if "shaper-" in line]


@pytest.mark.usefixtures("others")
def test_removal_by_two_at_once(rule_set: RuleSet, monkeypatch: pytest.MonkeyPatch) -> None:
    rules = Rules(Match(), 7)
    rules.install()
    restore = iptables.restore

    def late(family: iptables.Family, text: str) -> None:
        monkeypatch.undo()
        chain.remove(family, Owner.here(7))
        restore(family, text)

    monkeypatch.setattr(iptables, "restore", late)
    rules.remove()
    assert not [line for line in rule_set() if "shaper-" in line]


@pytest.mark.usefixtures("others")
def test_no_half_installation(rule_set: RuleSet) -> None:
    refusing = Path(os.environ["PATH"].split(":")[0]) / "ip6tables-restore"
    refusing.unlink()
    refusing.write_text("#!/bin/sh\necho 'ip6tables-restore v1.8.9 (nf_tables): line 5 failed' >&2; exit 1\n")
    refusing.chmod(0o755)
    before = rule_set()
    with pytest.raises(RulesError, match=r"^ip6tables-restore: line 5 failed$"):
        Rules(Match(), 7).install()
    assert rule_set() == before


@pytest.mark.usefixtures("backend")
def test_each_packet_is_counted_once() -> None:
    rules = Rules(Match(ports=(9000, 9001)), 7)
    rules.install()
    send(30, "127.0.0.1", 9000)
    send(12, "::1", 9001)
    send(50, "127.0.0.1", 9002)
    assert rules.look().packets == 42


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize(("host", "other"), [("127.0.0.2", "127.0.0.3"), ("127.0.0.0/30", "127.0.0.4")])
def test_a_host_may_be_at_either_end(host: str, other: str) -> None:
    rules = Rules(Match(protocol="udp", host=host), 7)
    rules.install()
    there = host.partition("/")[0].replace("127.0.0.0", "127.0.0.1")
    for source, destination in ((there, other), (other, there), (there, there), (other, other)):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.bind((source, 0))
            for _ in range(10):
                sender.sendto(b"x", (destination, 9000))
    assert rules.look().packets == 30


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_a_filter_leaves_other_traffic_alone(address: str) -> None:
    rules = Rules(Match(filter="udp dst port 8765 or (icmp and net 192.0.2.0/24)"), 7)
    rules.install()
    send(20, address, 8765)
    send(50, address, 8766)
    assert rules.look().packets == 20


def test_an_address_decides_the_family() -> None:
    assert list(Rules(Match(source="10.0.0.0/8"), 7).text()) == ["ipv4"]
    assert list(Rules(Match(destination="::1"), 7).text()) == ["ipv6"]
    assert list(Rules(Match(host="::/0"), 7).text()) == ["ipv6"]
    assert list(Rules(Match(), 7).text()) == ["ipv4", "ipv6"]
    with pytest.raises(UsageError, match=r"10.0.0.1 and ::1 are addresses of different families"):
        Rules(Match(source="10.0.0.1", host="::1"), 7)


def test_icmp_is_icmpv6_too() -> None:
    text = Rules(Match(protocol="icmp"), 7).text()
    assert " -p icmp -m comment" in text["ipv4"]
    assert " -p ipv6-icmp -m comment" in text["ipv6"]


def test_without_ipv6_there_are_no_rules_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(iptables, "families", lambda: ["ipv4"])
    assert list(Rules(Match(), 7).text()) == ["ipv4"]


@pytest.mark.usefixtures("backend")
def test_injected_packets_are_not_queued_again() -> None:
    rules = Rules(Match(protocol="udp"), 7)
    rules.install()
    send(5, "127.0.0.1", 9000, mark=INJECT_MARK | 0x42)
    send(7, "127.0.0.1", 9000, mark=0x42)
    assert rules.look().packets == 7


@pytest.fixture
def neighbour(shell: Shell) -> Iterator[str]:
    """The address of a host beyond veth0."""
    with subprocess.Popen(["unshare", "-n", "cat"], stdin=subprocess.PIPE) as host:
        inside = f"nsenter -n -t {host.pid}"
        shell(f"while [ $(readlink /proc/{host.pid}/ns/net) = $(readlink /proc/self/ns/net) ]; do :; done")
        shell(f"ip link add veth0 type veth peer name veth1 netns {host.pid}")
        shell("ip addr add fd00::1/64 dev veth0 nodad; ip link set veth0 up")
        shell(f"{inside} ip addr add fd00::2/64 dev veth1 nodad; {inside} ip link set veth1 up")
        yield "fd00::2"
        assert host.stdin is not None
        host.stdin.close()


@pytest.mark.usefixtures("backend")
def test_neighbour_discovery_is_never_queued(neighbour: str, shell: Shell) -> None:
    rules = Rules(Match(interfaces=("veth0",), protocol="icmp", source=neighbour), 7)
    rules.install()

    def advertised() -> bool:
        return any("--icmpv6-type 136 -j RETURN" in line and line[1] != "0" for line in saved())

    def saved() -> list[str]:
        return iptables.save("ipv6", counters=True)

    send(1, neighbour, 9000)
    deadline = time.monotonic() + 10
    while not advertised() and time.monotonic() < deadline:
        pass
    assert advertised()
    # It rejects datagrams to a port without a listener, by ICMPv6 too: that is queued, once the address is known.
    while rules.look().packets == 0 and time.monotonic() < deadline:
        pass
    assert rules.look().packets == 1


@pytest.mark.usefixtures("backend")
def test_packets_stay_held_while_other_rules_come_and_go() -> None:
    held: list[Packet] = []

    def hold(packet: Packet) -> None:
        packet.retain()
        held.append(packet)

    queue = NetfilterQueue()
    queue.bind(5, hold, range=128)
    rules = Rules(Match(ports=(9005,)), 5)
    rules.install()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 9005))
        receiver.setblocking(False)
        send(100, "127.0.0.1", 9005)
        queue.run(block=False)
        assert len(held) == 100
        for _ in range(3):
            beside = Rules(Match(ports=(9006,)), 6)
            beside.install()
            beside.remove()
        rules.remove()
        for packet in held:
            packet.accept()
        queue.unbind()
        assert [receiver.recv(10) for _ in range(100)] == [b"x"] * 100
