"""Engines that are killed, halted, or caught in a loop while they hold packets: nothing is lost."""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from tests.kernel.conftest import BACKENDS
from tests.kernel.shaping import Receiver, Shaper, children, wait_until_held

pytestmark = pytest.mark.usefixtures("network")

HELD = 5000
WATCHDOG_MS = 1000
HANG = """
from shaper import Policy, Send, s

class Hang(Policy):
    scope = "queue"
    needs = "headers"

    def on_packet(self, packet, now):
        while packet.length == 28 + 7:
            pass
        return Send(packet, at=now + 9 * s)
"""
NEW = b"new."
ENDS: dict[str, Callable[[Receiver, int], object]] = {
    "killed": lambda receiver, pid: os.kill(pid, signal.SIGKILL),
    "stopped": lambda receiver, pid: os.kill(pid, signal.SIGSTOP),
    "caught in a loop": lambda receiver, pid: receiver.sender.send(bytes(7)),
}


@pytest.fixture
def ours(rule_set: Callable[[], list[str]]) -> Callable[[], list[str]]:
    return lambda: [line for line in rule_set() if "shaper" in line]


def wait_until_gone(pid: int) -> None:
    deadline = time.monotonic() + 60
    while Path(f"/proc/{pid}/stat").exists() and " Z " not in Path(f"/proc/{pid}/stat").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.005)  # it is not our child


def guardian_of(shaper: Shaper) -> int:
    (guardian,) = children(shaper.engine)
    return guardian


def until_new_ones_pass(receiver: Receiver) -> tuple[list[int], float]:
    """What was held, as it comes, and for how long a new packet at most waits behind it, in ms."""
    receiver.sender.send(NEW)
    begun, numbers = time.monotonic(), []
    while (datagram := receiver.recv(100)) != NEW:
        if len(datagram) != 7:
            numbers.append(int.from_bytes(datagram[:4]))
    return numbers, (time.monotonic() - begun) * 1000


@pytest.mark.parametrize("how", ENDS)
def test_an_engine_that_ends_while_it_holds_loses_nothing(
    how: str,
    tmp_path: Path,
    receiver: Receiver,
    ours: Callable[[], list[str]],
    use_backend: Callable[[str], None],
    count: Callable[[int], int],
    progress: Callable[[int, int], None],
    figure: Callable[[str, str], None],
) -> None:
    (tmp_path / "hang.py").write_text(HANG)
    random, rounds = Random(how), max(count(50), len(BACKENDS))
    options = ("--policy", str(tmp_path / "hang.py"), "--protocol", "udp", "--queue", "7")
    delivered, waits = 0, []
    for nth in range(rounds):
        progress(nth, rounds)
        use_backend(BACKENDS[nth % len(BACKENDS)])
        with Shaper(tmp_path, *options, "--watchdog", f"{WATCHDOG_MS}ms") as shaper:
            guardian = guardian_of(shaper)
            receiver.send_numbers(HELD, b"1234")
            wait_until_held(7, HELD)
            time.sleep(random.random() / 10)  # so that it is in the middle of something else each time
            ENDS[how](receiver, shaper.engine)
            numbers, wait = until_new_ones_pass(receiver)
            assert numbers == list(range(HELD))
            delivered += len(numbers)
            waits.append(wait)
            wait_until_gone(guardian)
            assert shaper.process.wait(60) == 1
            assert not ours()
    figure(
        f"engine {how} with {HELD:,} packets held, {rounds} times",
        f"{delivered:,} of {rounds * HELD:,} delivered, in order; a new packet passes after "
        f"{statistics.median(waits):.0f} ms (median), {max(waits):.0f} ms at most; no rule left",
    )


def test_engine_and_guardian_killed_together(
    tmp_path: Path, receiver: Receiver, backend: str, ours: Callable[[], list[str]]
) -> None:
    with Shaper(tmp_path, "--policy", "delay:9s", "--protocol", "udp", "--queue", "7") as shaper:
        guardian = guardian_of(shaper)
        receiver.send_numbers(10)
        wait_until_held(7, 10)
        os.kill(guardian, signal.SIGSTOP)  # so that it does not see the engine die first
        both = (shaper.engine, guardian)
        for pid in (*both, shaper.process.pid):
            os.kill(pid, signal.SIGKILL)
        shaper.process.wait(60)
        for pid in both:
            wait_until_gone(pid)
        # What was held is lost with the queue; what comes now passes, for there is no one to take it.
        receiver.sender.send(NEW)
        assert receiver.recv(100) == NEW
        assert ours()
        subprocess.run([sys.executable, "-m", "shaper", "clean"], check=True, capture_output=True)
        assert not ours()
