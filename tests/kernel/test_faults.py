"""Policies at fault: for each a stated outcome, and all traffic goes on."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from textwrap import indent

import pytest

from tests.kernel.shaping import Receiver, Shaper

pytestmark = pytest.mark.usefixtures("network")

PACKETS = 100
POLICY = """
import sys
import time

from shaper import Hold, Policy, Send, Wake, ms

seen = []

class Faulty(Policy):
    scope = "queue"

    def start(self):
        self._kept = []

    def on_packet(self, packet, now):
        self._kept.append(packet)
        seen.append(packet)
        if len(seen) < 50:
            return Send(packet, at=now + 5 * ms)
{fault}

    def on_wake(self, now):
{woken}
"""

# What the policy does from its 50th packet on, or when it is woken, and what is then said.
FAILURES = {
    "raises": ("raise ValueError('no')", "", "ValueError: no"),
    "raises when woken": ("return [Hold(packet), Wake(now + 5 * ms)]", "return 1 / 0", "ZeroDivisionError"),
    "exits": ("sys.exit(3)", "", "SystemExit: 3"),
    "recurs without an end": ("return self.on_packet(packet, now)", "", "RecursionError"),
    "returns nonsense": ("return 'send'", "", "returned 'send'; a hook returns Send, Drop, Hold, Wake"),
    "sends what is not its own": ("return [Send(packet), Hold(seen[0])]", "", "does not hold this packet"),
    "asks for wakes without an end": ("return [Hold(packet), Wake(now)]", "return Wake(now)", "to be woken at once"),
    "asks for a billion wakes": (
        "return (Wake(now + number) for number in range(10**9))",
        "",
        "answered with more than 131072 actions",
    ),
    "grows without bound": ("self._more = [bytes(1 << 20) for _ in range(10**9)]", "", "MemoryError"),
}
# The same, where shaper's guardian has to see to it.
HANGS = {
    "loops without an end": "while True: pass",
    "blocks": "time.sleep(3600)",
}


def policy(folder: Path, fault: str, woken: str = "") -> str:
    file = folder / "faulty.py"
    file.write_text(POLICY.format(fault=indent(fault, " " * 8), woken=indent(woken or "return None", " " * 8)))
    return str(file)


@pytest.fixture
def left(rule_set: Callable[[], list[str]]) -> Callable[[], list[str]]:
    return lambda: [line for line in rule_set() if "shaper" in line]


@pytest.mark.parametrize("fault", FAILURES)
def test_it_fails_and_packets_pass_by_it(fault: str, tmp_path: Path, left: Callable[[], list[str]]) -> None:
    does, woken, message = FAILURES[fault]
    file = policy(tmp_path, does, woken)
    with (
        Receiver() as receiver,
        Shaper(tmp_path, "--policy", file, "--protocol", "udp", "--on-error", "continue") as shaper,
    ):
        receiver.send_numbers(PACKETS)
        assert sorted(receiver.numbers(PACKETS)) == list(range(PACKETS))
        summary = shaper.stop()
    assert shaper.status == 1
    assert re.search(rf"policy faulty failed at {re.escape(file)}:\d+: .*{re.escape(message)}", shaper.errors)
    assert "Traceback" not in shaper.errors
    assert (summary["taken"], summary["sent"], summary["dropped"]) == (PACKETS, PACKETS, 0)
    assert not left()


@pytest.mark.parametrize("fault", HANGS)
def test_it_hangs_and_the_guardian_lets_all_go_on(fault: str, tmp_path: Path, left: Callable[[], list[str]]) -> None:
    file = policy(tmp_path, HANGS[fault])
    options = ("--policy", file, "--protocol", "udp", "--watchdog", "300ms")
    with Receiver() as receiver, Shaper(tmp_path, *options) as shaper:
        receiver.send_numbers(PACKETS)
        assert sorted(receiver.numbers(PACKETS)) == list(range(PACKETS))
        assert shaper.process.wait(60) == 1
    assert re.search(rf"{re.escape(file)}:\d+: it took longer than --watchdog 300ms", shaper.errors)
    assert not left()


def test_it_gathers_without_an_end_little_by_little(tmp_path: Path, left: Callable[[], list[str]]) -> None:
    file = policy(tmp_path, "self._kept.append(bytes(17 << 20))")
    with Receiver() as receiver, Shaper(tmp_path, "--policy", file, "--protocol", "udp") as shaper:
        receiver.send_numbers(PACKETS)
        assert sorted(receiver.numbers(PACKETS)) == list(range(PACKETS))
        summary = shaper.result()
    assert shaper.status == 1
    assert re.search(rf"policy faulty failed at {re.escape(file)}:\d+: .*more than 768 MB were taken", shaper.errors)
    assert (summary["taken"], summary["sent"], summary["dropped"]) == (PACKETS, PACKETS, 0)
    assert not left()


def test_what_is_sent_twice_is_a_duplicate(tmp_path: Path) -> None:
    file = policy(tmp_path, "return [Send(packet), Send(packet)]")
    with Receiver() as receiver, Shaper(tmp_path, "--policy", file, "--protocol", "udp") as shaper:
        receiver.send_numbers(PACKETS)
        assert sorted(receiver.numbers(PACKETS + 51)) == sorted([*range(PACKETS), *range(49, PACKETS)])
        summary = shaper.stop()
    assert shaper.status == 0
    assert (summary["sent"], summary["injected"]) == (PACKETS, 51)


@pytest.mark.parametrize("does", ["return Hold(packet)", "return Send(packet, at=now + 3600 * 1000 * ms)"])
def test_what_is_held_for_ever_goes_on_when_its_time_is_over(does: str, tmp_path: Path) -> None:
    options = ("--policy", policy(tmp_path, does), "--protocol", "udp", "--max-hold", "200ms")
    with Receiver() as receiver, Shaper(tmp_path, *options) as shaper:
        receiver.send_numbers(PACKETS)
        assert receiver.numbers(PACKETS) == list(range(PACKETS))
        summary = shaper.stop()
    assert shaper.status == 1
    assert (summary["sent"], summary["cut_short"]) == (PACKETS, 51)
    assert "51 packets were sent early: a policy planned beyond --max-hold" in shaper.errors
