"""Other programs change the firewall, the interfaces and the namespaces while packets are held."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.kernel.shaping import Receiver, Shaper, wait_until_held

RESTORED = "another program removed shaper's rules; they are set again"

Shell = Callable[[str], str]
RELOADS = {
    "iptables-restore": "printf '*mangle\\nCOMMIT\\n' | iptables-restore",
    "iptables -F": "iptables -t mangle -F INPUT",
}


def holds_again(shaper: Shaper, receiver: Receiver) -> bool:
    """Whether shaper says that it has restored the rules, and a new packet is held instead of passing."""
    deadline = time.monotonic() + 30
    while RESTORED not in shaper.errors:
        assert time.monotonic() < deadline
        time.sleep(0.05)  # another process writes the file
    begun = time.monotonic()
    receiver.send_numbers(1)
    receiver.numbers(1)
    return time.monotonic() - begun >= 0.29


@pytest.mark.parametrize("reload", RELOADS)
def test_lost_rules_are_set_again(
    reload: str, tmp_path: Path, receiver: Receiver, backend: str, shell: Shell, rule_set: Callable[[], list[str]]
) -> None:
    with Shaper(tmp_path, "--policy", "delay:300ms", "--protocol", "udp") as shaper:
        shell(RELOADS[reload])
        assert holds_again(shaper, receiver)
        assert shaper.stop()["rules_lost"] == 1
    assert shaper.status == 1
    assert not [line for line in rule_set() if "shaper" in line]


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_packets_that_come_while_rules_are_set_again_are_counted_correctly(
    address: str, tmp_path: Path, network: None, shell: Shell
) -> None:
    command = "iptables" if address == "127.0.0.1" else "ip6tables"
    with Receiver(address) as receiver, Shaper(tmp_path, "--policy", "delay:1ms", "--protocol", "udp") as shaper:
        sent, received, end = 0, 0, time.monotonic() + 60
        while RESTORED not in shaper.errors:
            assert time.monotonic() < end
            receiver.send_numbers(20)
            sent += 20
            received += len(receiver.rest())
            if sent == 1000:
                shell(f"{command} -t mangle -F INPUT")
            time.sleep(0.001)  # some ten thousand a second
        summary = shaper.stop()
        assert received + len(receiver.rest()) == sent
    assert (summary["bypassed"], summary["rules_lost"]) == (0, 1)
    assert 1000 <= summary["taken"] < sent


def test_of_two_shapers_of_the_same_packets_the_first_gets_them(tmp_path: Path, receiver: Receiver) -> None:
    summaries = []
    options = ("--policy", "delay:1ms", "--protocol", "udp")
    with Shaper(tmp_path / "first", *options) as first, Shaper(tmp_path / "second", *options) as second:
        for shaper in (first, second):
            receiver.send_numbers(10)
            assert receiver.numbers(10) == list(range(10))
            summaries.append(shaper.stop())
    assert [(summary["taken"], summary["problems"]) for summary in summaries] == [(10, []), (10, [])]


def test_nft_flushes_more_than_our_rules(tmp_path: Path, receiver: Receiver, shell: Shell) -> None:
    if "nf_tables" not in shell("iptables --version"):
        return  # nft does not know of iptables-legacy's rules
    with Shaper(tmp_path, "--policy", "delay:300ms", "--protocol", "udp") as shaper:
        shell("nft flush ruleset")
        assert holds_again(shaper, receiver)
        assert shaper.stop()["rules_lost"] == 1


def test_or_the_run_ends(
    tmp_path: Path, receiver: Receiver, backend: str, shell: Shell, rule_set: Callable[[], list[str]]
) -> None:
    options = ("--policy", "delay:300ms", "--protocol", "udp", "--on-rules-lost", "stop")
    with Shaper(tmp_path, *options) as shaper:
        shell(RELOADS["iptables -F"])
        summary = shaper.result()
    assert (summary["rules_lost"], shaper.status) == (1, 1)
    assert "another program removed shaper's rules" in shaper.errors
    assert not [line for line in rule_set() if "shaper" in line]


def test_reloading_with_noflush_is_no_loss(tmp_path: Path, receiver: Receiver, backend: str, shell: Shell) -> None:
    with Shaper(tmp_path, "--policy", "delay:1500ms", "--protocol", "udp", "--queue", "7") as shaper:
        receiver.send_numbers(100)
        wait_until_held(7, 100)
        shell("printf '*mangle\\n-A INPUT -p icmp -j ACCEPT\\nCOMMIT\\n' | iptables-restore --noflush")
        assert receiver.numbers(100) == list(range(100))
        summary = shaper.stop()
    assert (summary["sent"], summary["lost_to_reload"], summary["rules_lost"], shaper.status) == (100, 0, 0, 0)


def wait_until_said(shaper: Shaper, line: str) -> None:
    """Until this is a line of its standard error."""
    deadline = time.monotonic() + 20
    while f"shaper: {line}\n" not in shaper.errors:
        assert time.monotonic() < deadline, shaper.errors
        time.sleep(0.02)


def test_packets_of_an_interface_that_vanishes_are_lost_and_it_may_come_back(
    tmp_path: Path, network: None, shell: Shell
) -> None:
    add = (
        "ip link add v0 type veth peer name v1; ip addr add 198.18.0.1/24 dev v0; ip link set v0 up; ip link set v1 up;"
        "ip neigh add 198.18.0.2 dev v0 lladdr 02:00:00:00:00:02"
    )
    shell(add)
    options = ("--policy", "delay:9s", "--interface", "v0,later", "--protocol", "udp", "--queue", "7")
    with Shaper(tmp_path, *options) as shaper, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for _ in range(10):
            sender.sendto(b"gone", ("198.18.0.2", 9))
        wait_until_held(7, 10)
        shell("ip link del v0")
        wait_until_said(shaper, "the interface v0 is gone; its packets are shaped again when it is back")
        shell(add)
        wait_until_said(shaper, "the interface v0 is back")
        for _ in range(5):
            sender.sendto(b"back", ("198.18.0.2", 9))
        wait_until_held(7, 5)
        summary = shaper.stop()
    assert (summary["taken"], summary["lost_to_reload"], shaper.status) == (15, 10, 1)
    assert "or their interface went away" in shaper.errors
    assert "there is no interface later yet; it is shaped when it comes" in shaper.errors
    assert summary["interfaces_gone"] == {"v0": 1}


def test_a_namespace_that_is_deleted_stays_until_the_end(tmp_path: Path, network: None, shell: Shell) -> None:
    name = f"test-{time.monotonic_ns()}"
    shell(f"ip netns add {name}; ip -n {name} link set lo up")
    try:
        with Shaper(tmp_path, "--policy", "delay:20ms", "--netns", name) as shaper:
            shell(f"ip netns del {name}")
            assert shaper.stop()["problems"] == []
        assert shaper.status == 0
    finally:
        subprocess.run(["ip", "netns", "del", name], stderr=subprocess.DEVNULL)
