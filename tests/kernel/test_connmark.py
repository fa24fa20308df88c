"""`shaper start --connmark`: connections that no policy touches leave the queue."""

import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from shaper.cli import main
from shaper.control.client import Client
from shaper.errors import ShaperError
from shaper.live import conntrack
from shaper.live.rules.ruleset import MASK
from tests.kernel.conftest import Shell
from tests.kernel.hosts import Host
from tests.kernel.shaping import Receiver, Shaper, command_line, nothing_is_left, wait_until_held

pytestmark = pytest.mark.usefixtures("network")

NOBODY = ("--connmark", "--protocol", "udp", "--policy", "delay:20ms,connections=0%", "--queue", "7")
FAR = ("--connmark", "--protocol", "udp", "--policy", "delay:90s,connections=0%", "--max-hold", "2min", "--queue", "7")


def exchange(receiver: Receiver, count: int) -> float:
    """Send so many datagrams, each once the one before has come; returns how long (ms) that took."""
    begin = time.monotonic()
    for _ in range(count):
        receiver.send_numbers(1)
        receiver.numbers(1)
    return (time.monotonic() - begin) * 1e3


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_a_connection_that_no_policy_shapes_leaves(
    address: str, backend: str, tmp_path: Path, rule_set: Callable[[], list[str]]
) -> None:
    with Receiver(address) as receiver, Shaper(tmp_path, *NOBODY) as shaper:
        exchange(receiver, 100)
        summary = shaper.stop()
    assert summary["taken"] + summary["packets_left"] == 100
    assert (summary["connections_left"], summary["bypassed"], summary["problems"]) == (1, 0, [])
    assert summary["taken"] < 3
    assert nothing_is_left(rule_set)


def test_others_stay(tmp_path: Path) -> None:
    options = ("--connmark", "--policy", "delay:20ms,connections=50%", "--seed", "3", "--protocol", "tcp")
    with Shaper(tmp_path, *options) as shaper, socket.create_server(("127.0.0.1", 0)) as server:
        connections = []
        for _ in range(12):
            near = socket.create_connection(server.getsockname())
            far, _ = server.accept()
            begin = time.monotonic()
            near.send(b"x")
            far.recv(1)
            connections.append((near, far, (time.monotonic() - begin) * 1e3))
        for near, far, _ in connections:
            near.close()
            far.close()
        summary = shaper.stop()
    held = [took for *_, took in connections if took >= 20]
    assert 0 < len(held) < 12
    assert max(took for *_, took in connections if took < 20) < 20
    assert summary["connections_left"] == 12 - len(held)
    # Each that stays has nine or ten packets, with those that close it.
    assert summary["taken"] >= 5 * len(held)
    assert summary["packets_left"] >= 5 * (12 - len(held))


def test_a_change_brings_all_back(tmp_path: Path, receiver: Receiver) -> None:
    name = f"connmark-{os.getpid()}"
    with Shaper(tmp_path, *NOBODY, "--name", name) as shaper:
        exchange(receiver, 10)
        client = Client(name)
        client.release()  # changes no policy, so none comes back
        exchange(receiver, 10)
        client.set("delay", {"connections": "100%"})
        assert exchange(receiver, 5) >= 5 * 20
        client.pause()
        exchange(receiver, 5)
        client.resume()
        assert exchange(receiver, 5) >= 5 * 20
        client.replace(["pass_through"])
        exchange(receiver, 10)
        client.replace(["delay:20ms"])
        assert exchange(receiver, 5) >= 5 * 20
        with pytest.raises(ShaperError, match="there is no policy 'nothing'"):
            client.replace(["nothing"])
        summary = shaper.stop()
    assert summary["taken"] + summary["packets_left"] == 50
    assert (summary["connections_left"], summary["bypassed"], summary["problems"]) == (2, 0, [])
    # While it was paused they stayed, as they would be wanted again.
    assert 26 <= summary["packets_left"] <= 28


def test_what_an_earlier_run_marked_counts_no_more(tmp_path: Path, receiver: Receiver) -> None:
    for nth in range(2):
        with Shaper(tmp_path / str(nth), *NOBODY) as shaper:
            exchange(receiver, 10)
            summary = shaper.stop()
            assert (summary["connections_left"], summary["taken"] + summary["packets_left"]) == (1, 10)
    with Shaper(tmp_path / "2", "--policy", "delay:20ms", "--connmark") as shaper:
        assert exchange(receiver, 5) >= 5 * 20
        assert shaper.stop()["packets_left"] == 0


def test_the_rest_of_a_mark_is_somebody_elses(shell: Shell, tmp_path: Path, receiver: Receiver) -> None:
    shell("iptables -t mangle -A PREROUTING -p udp -j CONNMARK --set-xmark 0x8000002a/0xffffffff")
    with Shaper(tmp_path, *NOBODY) as shaper:
        exchange(receiver, 1)
        shell("iptables -t mangle -F PREROUTING")
        exchange(receiver, 9)
        assert {mark & ~MASK for mark in conntrack.marks()} == {0x8000002A}
        summary = shaper.stop()
    assert summary["packets_left"] >= 7


def test_what_is_held_is_not_lost_when_connection_tracking_ends(tmp_path: Path, receiver: Receiver) -> None:
    for nth, number in enumerate((signal.SIGINT, signal.SIGKILL)):
        far = (*FAR[:4], "delay:90s", *FAR[5:])
        with Shaper(tmp_path / str(nth), *far) as shaper:
            receiver.send_numbers(50)
            wait_until_held(7, 50)
            if number == signal.SIGKILL:
                os.kill(engine := shaper.engine, number)
                while command_line(engine):
                    time.sleep(0.01)
                shaper.process.wait(60)
            else:
                assert shaper.stop()["sent"] == 50
            assert receiver.numbers(50) == list(range(50))


def test_what_is_held_is_not_lost_when_the_rules_are_set_again(
    shell: Shell, tmp_path: Path, receiver: Receiver, backend: str
) -> None:
    far = (*FAR[:4], "delay:3s", *FAR[5:])
    with Shaper(tmp_path, *far) as shaper:
        receiver.send_numbers(50)
        wait_until_held(7, 50)
        (jump,) = re.findall(r"-A (INPUT .*)", shell("iptables-save -t mangle"))
        shell(f"iptables -t mangle -D {jump}")
        while jump not in shell("iptables-save -t mangle"):
            time.sleep(0.05)
        assert receiver.numbers(50) == list(range(50))
        summary = shaper.stop()
    assert (summary["sent"], summary["lost_to_reload"], summary["rules_lost"]) == (50, 0, 1)


@pytest.mark.parametrize(
    ("also", "most"), [("", 6), ("iptables -t nat -A INPUT -p tcp -j SNAT --to-source 10.1.0.9", 2 * 256)]
)
def test_a_connection_behind_nat(also: str, most: int, shell: Shell, tmp_path: Path) -> None:
    """Its packets look otherwise in the queue than those that opened it; where both ends are translated, than any."""
    with Host("veth0", ["10.1.0.1/24"], ["10.1.0.2/24"]) as host, socket.create_server(("10.1.0.1", 0)) as server:
        port = server.getsockname()[1]
        shell(f"iptables -t nat -A PREROUTING -p tcp --dport 80 -j REDIRECT --to-port {port}")
        shell(also)
        options = ("--connmark", "--interface", "veth0", "--policy", "delay:20ms,connections=0%", "--protocol", "tcp")
        with Shaper(tmp_path, *options) as shaper, host.socket(socket.AF_INET, socket.SOCK_STREAM) as near:
            near.connect(("10.1.0.1", 80))
            far, _ = server.accept()
            with far:
                for _ in range(most + 20):
                    near.send(b"x")
                    assert far.recv(1) == b"x"
            summary = shaper.stop()
    assert summary["connections_left"] == 1
    assert summary["taken"] <= most
    assert summary["packets_left"] >= 20


def test_what_the_command_says(tmp_path: Path, receiver: Receiver, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["start", "--connmark", "--no-rules", "--queue", "7", "--policy", "pass_through"]) == 2
    assert "--connmark sets a rule; leave out --no-rules" in capfd.readouterr().err
    assert main(["start", "--connmark", "--dry-run", "--policy", "pass_through"]) == 0
    assert "-m connmark --mark 0x10000/0x7ff0000 -j ACCEPT" in capfd.readouterr().out
    name = f"connmark-{os.getpid()}"
    started = subprocess.Popen(
        ["shaper", "start", "--policy", "pass_through", "--connmark", "--name", name], stdout=subprocess.PIPE, text=True
    )
    assert started.stdout is not None
    assert started.stdout.readline().startswith("shaping ")
    exchange(receiver, 10)
    assert main(["status", name]) == 0
    assert re.search(r"^left      1 connection, \d packets$", capfd.readouterr().out, re.MULTILINE)
    started.send_signal(signal.SIGINT)
    said, _ = started.communicate(timeout=60)
    left = re.search(r"left the queue, as no policy touches them: 1 connection, with\s(\d+)\s+packets", said)
    assert left is not None
    assert int(left[1]) >= 8
