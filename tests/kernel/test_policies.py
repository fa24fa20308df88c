"""What policies do to real packets."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.kernel.shaping import Receiver, Shaper, nothing_is_left

pytestmark = pytest.mark.usefixtures("network")

DROP_THIRD = """
from shaper import Drop, Policy

class DropThird(Policy):
    def start(self):
        self._seen = 0

    def on_packet(self, packet, now):
        self._seen += 1
        if self._seen % 3 == 0:
            return Drop(packet)
"""
REWRITE = """
from shaper import Policy, Send

class Rewrite(Policy):
    needs = "{needs}"

    def on_packet(self, packet, now):
        return Send(packet.with_raw(packet.raw[:-4] + b"new!"))
"""
RAISE = """
from shaper import Policy

class Raise(Policy):
    def on_packet(self, packet, now):
        return 1 // 0
"""
INJECT = """
from shaper import Policy, Send

class Twice(Policy):
    def on_packet(self, packet, now):
        return [Send(packet), Send(packet.copy())]
"""


def policy_file(folder: Path, text: str) -> str:
    file = folder / "own.py"
    file.write_text(text)
    return str(file)


def test_a_policy_from_a_file_drops_every_third(tmp_path: Path, receiver: Receiver) -> None:
    with Shaper(tmp_path, "--policy", policy_file(tmp_path, DROP_THIRD), "--protocol", "udp") as shaper:
        receiver.send_numbers(30)
        arrived = receiver.numbers(20)
        summary = shaper.stop()
    assert shaper.status == 0
    assert arrived == [number for number in range(30) if number % 3 != 2]
    assert (summary["taken"], summary["sent"], summary["dropped"], summary["bypassed"]) == (30, 20, 10, 0)


@pytest.mark.parametrize("policy", ["delay:time=5ms", "spread_burst:gap=1ms", "pass_through", "reorder", "hold_acks"])
def test_packets_of_60_kb_arrive_whole(tmp_path: Path, network: None, policy: str) -> None:
    payload = bytes(range(256)) * 234
    sent = [number.to_bytes(4) + payload for number in range(5)]
    with Receiver("127.0.0.1") as ipv4, Receiver("::1") as ipv6, Shaper(tmp_path, "--policy", policy) as shaper:
        for receiver in (ipv4, ipv6):
            for packet in sent:
                receiver.sender.send(packet)
            assert sorted(receiver.recv(65536) for _ in sent) == sent
        shaper.stop()
    assert shaper.status == 0


@pytest.mark.parametrize("mtu", [1500, 65536])
def test_a_packet_of_60_kb_can_be_rewritten(
    tmp_path: Path, receiver: Receiver, shell: Callable[[str], str], mtu: int
) -> None:
    shell(f"ip link set lo mtu {mtu}")
    file = policy_file(tmp_path, REWRITE.format(needs="packet"))
    with Shaper(tmp_path, "--policy", file, "--protocol", "udp") as shaper:
        receiver.sender.send(bytes(60_000))
        assert receiver.recv(65536) == bytes(59_996) + b"new!"
        shaper.stop()
    assert shaper.status == 0


def test_a_packet_of_which_only_the_headers_were_copied_goes_on_unchanged(tmp_path: Path, receiver: Receiver) -> None:
    file = policy_file(tmp_path, REWRITE.format(needs="headers"))
    with Shaper(tmp_path, "--policy", file, "--on-error", "continue", "--protocol", "udp") as shaper:
        receiver.sender.send(bytes(60_000))
        assert receiver.recv(65536) == bytes(60_000)
        summary = shaper.stop()
    assert shaper.status == 1
    assert (summary["taken"], summary["sent"]) == (1, 1)
    assert f"{file}:8: TruncatedPacket: packet 1 has 60028 bytes and 128 were copied" in shaper.errors


def test_a_packet_can_be_sent_twice(tmp_path: Path, network: None) -> None:
    with Shaper(tmp_path, "--policy", policy_file(tmp_path, INJECT), "--protocol", "udp") as shaper:
        for address in ("127.0.0.1", "::1"):
            with Receiver(address) as receiver:
                receiver.send_numbers(10)
                assert sorted(receiver.numbers(20)) == sorted([*range(10), *range(10)])
        summary = shaper.stop()
    assert (summary["taken"], summary["sent"], summary["injected"], summary["not_injected"]) == (20, 20, 20, 0)


def test_a_failing_policy_ends_the_run_and_loses_nothing(
    tmp_path: Path, receiver: Receiver, rule_set: Callable[[], list[str]]
) -> None:
    file = policy_file(tmp_path, RAISE)
    with Shaper(tmp_path, "--policy", file, "--protocol", "udp") as shaper:
        receiver.send_numbers(10)
        summary = shaper.result()
    assert shaper.status == 1
    assert receiver.numbers(10) == list(range(10))
    assert f"{file}:6: ZeroDivisionError" in shaper.errors
    assert "Traceback" not in shaper.errors
    assert summary["sent"] == summary["taken"]
    assert nothing_is_left(rule_set)
