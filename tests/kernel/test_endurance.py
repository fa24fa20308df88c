"""What shaper endures: floods, a full queue, a long run."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.kernel.shaping import Receiver, Shaper, field, wait_until_held

pytestmark = [pytest.mark.usefixtures("network"), pytest.mark.alone]


FLOOD = """
import socket, sys, time
sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sender.connect(("127.0.0.1", int(sys.argv[1])))
packet, sent, end = bytes(64), 0, time.monotonic() + float(sys.argv[2])
while time.monotonic() < end:
    for _ in range(100):
        sender.send(packet)
    sent += 100
print(sent)
"""
SENDERS = 4
# So that a flood of several times what the engine can take fits into this machine.
HEAVY = """
import time
from shaper import Policy, Send, ms

class Heavy(Policy):
    scope = "queue"
    needs = "headers"

    def on_packet(self, packet, now):
        until = time.perf_counter_ns() + 60_000
        while time.perf_counter_ns() < until:
            pass
        return Send(packet, at=now + 20 * ms)
"""


def test_a_flood_loses_nothing(
    tmp_path: Path, receiver: Receiver, count: Callable[[int], int], figure: Callable[[str, str], None]
) -> None:
    seconds = count(3000) / 100
    (tmp_path / "heavy.py").write_text(HEAVY)
    options = ("--policy", str(tmp_path / "heavy.py"), "--protocol", "udp", "--watchdog", "30s", "--queue", "7")
    with Shaper(tmp_path, *options) as shaper:
        command = [sys.executable, "-c", FLOOD, str(receiver.getsockname()[1]), str(seconds)]
        floods = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(SENDERS)]
        sent = sum(int(flood.communicate(timeout=300)[0]) for flood in floods)
        wait_until_held(7, at_most=0)
        peak = int(field(shaper.engine, "VmHWM").split()[0]) / 1024
        received = len(receiver.rest())
        receiver.sender.send(b"more")
        assert receiver.recv(100) == b"more"
        summary = shaper.stop()
    assert received + overflowed() == sent
    assert summary["taken"] + summary["bypassed"] == sent + 1
    assert (summary["lost_queue_full"], summary["lost_buffer_full"], summary["dropped"]) == (0, 0, 0)
    assert shaper.status == (1 if summary["bypassed"] else 0)
    assert peak < 1024
    # On a busy machine the senders get less time than an engine that goes before all else.
    assert count(4) < 4 or sent >= 4 * summary["taken"]
    figure(
        f"a flood from {SENDERS} senders, {seconds:.0f} s, through a policy that works 60 µs for each packet",
        f"{sent:,} sent, {summary['taken']:,} shaped, {summary['bypassed']:,} bypassed "
        f"({sent / summary['taken']:.1f} times what was taken), 0 lost; {peak:.0f} MB of memory at most",
    )


def overflowed() -> int:
    """Datagrams that found the receiver's buffer full."""
    lines = [line.split() for line in Path("/proc/thread-self/net/snmp").read_text().splitlines()]
    names, values = [line for line in lines if line[0] == "Udp:"]
    return int(dict(zip(names, values, strict=True))["RcvbufErrors"])


@pytest.mark.parametrize(("fail", "lost", "address"), [("open", False, "::1"), ("closed", True, "127.0.0.1")])
def test_a_full_queue(fail: str, lost: bool, address: str, tmp_path: Path, network: None) -> None:
    sent = 70_000
    options = ("--policy", "delay:50s", "--max-hold", "60s", "--protocol", "udp", "--fail", fail, "--queue", "7")
    with Receiver(address) as receiver, Shaper(tmp_path, *options) as shaper:
        receiver.send_numbers(sent)
        wait_until_held(7, 60_000)
        summary = shaper.stop()
        arrived = len(receiver.rest())
    missing = summary["lost_queue_full"] + summary["lost_buffer_full"]
    passed = summary["bypassed"] if fail == "open" else missing
    assert summary["taken"] + passed == sent
    assert passed > 0
    assert (missing > 0) is lost
    assert (summary["bypassed"] == 0) is lost
    assert arrived == sent - missing
    assert shaper.status == 1
    fate = "are dropped" if lost else "pass unshaped"
    assert f"packets are held, and beyond 65535 they {fate}: lower the hold or the rate" in shaper.errors


def test_a_long_run_uses_no_more_memory(
    tmp_path: Path,
    receiver: Receiver,
    count: Callable[[int], int],
    progress: Callable[[int, int], None],
    figure: Callable[[str, str], None],
) -> None:
    total, at_once = count(10_000_000), 2000
    sizes = []
    options = ("--policy", "delay:time=5ms", "--protocol", "udp", "--watchdog", "30s")
    with Shaper(tmp_path, *options) as shaper:
        descriptors = len(os.listdir(f"/proc/{shaper.engine}/fd"))
        for sent in range(0, total, at_once):
            if sent % (total // 10) == 0:
                sizes.append(int(field(shaper.engine, "VmRSS").split()[0]))
                progress(sent, total)
            receiver.send_numbers(at_once)
            # Those before are awaited while these are on their way, so that the engine never rests.
            assert sent == 0 or receiver.numbers(at_once) == list(range(at_once))
        assert receiver.numbers(at_once) == list(range(at_once))
        sizes.append(int(field(shaper.engine, "VmRSS").split()[0]))
        assert len(os.listdir(f"/proc/{shaper.engine}/fd")) <= descriptors + 1  # a worker thread's
        summary = shaper.stop()
    assert (summary["taken"], summary["sent"], summary["bypassed"], shaper.status) == (total, total, 0, 0)
    growth = sizes[-1] / sizes[1]
    # What it keeps as samples for the summary is complete after the first hundred thousand packets.
    assert growth <= (1.05 if total >= 1_000_000 else 1.25)
    figure(
        f"{total:,} packets through `delay:time=5ms`",
        f"none lost; {sizes[-1] / 1024:.1f} MB at the end, {growth:.3f} times that after the first tenth",
    )
