"""What shaper endures: killed, halted, flooded, run for long, started and stopped many times.

Each does a fiftieth of what `./dev soak` does.
"""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest

from shaper.live.counters import QueueCounters
from tests.kernel.shaping import Receiver, Shaper

pytestmark = pytest.mark.usefixtures("network")

Count = Callable[[int], int]
Figure = Callable[[str, str], None]

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
ENDS: dict[str, Callable[[Receiver, int], object]] = {
    "killed": lambda receiver, pid: os.kill(pid, signal.SIGKILL),
    "stopped": lambda receiver, pid: os.kill(pid, signal.SIGSTOP),
    "caught in a loop": lambda receiver, pid: receiver.sender.send(bytes(7)),
}


@pytest.fixture
def receiver(network: None) -> Iterator[Receiver]:
    with Receiver() as made:
        yield made


def held(queue: int, at_least: int) -> None:
    counters = QueueCounters(queue)
    deadline = time.monotonic() + 60
    while (row := counters.read()) is None or row.held < at_least:
        assert time.monotonic() < deadline, row
        time.sleep(0.005)  # the kernel has no event for this
    counters.close()


def ours(rule_set: Callable[[], list[str]]) -> list[str]:
    return [line for line in rule_set() if "shaper" in line]


def wait_until_gone(pid: int) -> None:
    deadline = time.monotonic() + 60
    while Path(f"/proc/{pid}/stat").exists() and " Z " not in Path(f"/proc/{pid}/stat").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.005)  # it is not our child


def guardian_of(shaper: Shaper) -> int:
    return int(Path(f"/proc/{shaper.process.pid}/task/{shaper.process.pid}/children").read_text().split()[0])


@pytest.mark.parametrize("how", ENDS)
def test_an_engine_that_ends_while_it_holds_loses_nothing(
    how: str, tmp_path: Path, receiver: Receiver, rule_set: Callable[[], list[str]], count: Count, figure: Figure
) -> None:
    (tmp_path / "hang.py").write_text(HANG)
    random, rounds = Random(how), count(50)
    options = ("--policy", str(tmp_path / "hang.py"), "--protocol", "udp", "--queue", "7")
    delivered, waits = 0, []
    for _ in range(rounds):
        with Shaper(tmp_path, *options, "--watchdog", f"{WATCHDOG_MS}ms") as shaper:
            guardian = guardian_of(shaper)
            receiver.send_numbers(HELD, b"1234")
            held(7, HELD)
            time.sleep(random.random() / 10)  # so that it is in the middle of something else each time
            begun = time.monotonic()
            ENDS[how](receiver, shaper.process.pid)
            numbers = receiver.numbers(1)
            waits.append((time.monotonic() - begun) * 1000)
            numbers += receiver.numbers(HELD - 1)
            assert numbers == list(range(HELD))
            delivered += len(numbers)
            if how == "caught in a loop":
                assert len(receiver.recv(100)) == 7
            receiver.sender.send(b"new.")
            assert receiver.recv(100) == b"new."
            wait_until_gone(guardian)
            if how == "stopped":
                shaper.process.send_signal(signal.SIGCONT)
            assert shaper.process.wait(60) != 0
            assert not ours(rule_set)
    figure(
        f"engine {how} with {HELD:,} packets held, {rounds} times",
        f"{delivered:,} of {rounds * HELD:,} delivered, in order; traffic flows after "
        f"{statistics.median(waits):.0f} ms (median), {max(waits):.0f} ms at most; no rule left",
    )


def test_engine_and_guardian_killed_together(
    tmp_path: Path, receiver: Receiver, backend: str, rule_set: Callable[[], list[str]]
) -> None:
    with Shaper(tmp_path, "--policy", "delay:9s", "--protocol", "udp", "--queue", "7") as shaper:
        guardian = guardian_of(shaper)
        receiver.send_numbers(10)
        held(7, 10)
        os.kill(guardian, signal.SIGSTOP)  # so that it does not see the engine die first
        os.kill(shaper.process.pid, signal.SIGKILL)
        os.kill(guardian, signal.SIGKILL)
        wait_until_gone(guardian)
        # What was held is lost with the queue; what comes now passes, for there is no one to take it.
        receiver.sender.send(b"new.")
        assert receiver.recv(100) == b"new."
        assert ours(rule_set)
        subprocess.run([sys.executable, "-m", "shaper", "clean"], check=True, capture_output=True)
        assert not ours(rule_set)


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


def test_a_flood_loses_nothing(tmp_path: Path, receiver: Receiver, count: Count, figure: Figure) -> None:
    seconds = count(3000) / 100
    options = ("--policy", "delay:20ms", "--protocol", "udp", "--watchdog", "30s")
    with Shaper(tmp_path, *options) as shaper:
        command = [sys.executable, "-c", FLOOD, str(receiver.getsockname()[1]), str(seconds)]
        floods = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(SENDERS)]
        sent = sum(int(flood.communicate(timeout=300)[0]) for flood in floods)
        time.sleep(1)  # what is still held has a delay of 20 ms
        peak = int(field(shaper.process.pid, "VmHWM").split()[0]) / 1024
        received = len(receiver.rest())
        receiver.sender.send(b"more")
        assert receiver.recv(100) == b"more"
        summary = shaper.stop()
    assert received + overflowed() == sent
    assert summary["taken"] + summary["bypassed"] == sent + 1
    assert (summary["lost_queue_full"], summary["lost_buffer_full"], summary["dropped"]) == (0, 0, 0)
    assert shaper.status == (1 if summary["bypassed"] else 0)
    assert peak < 1024
    figure(
        f"a flood from {SENDERS} senders, {seconds:.0f} s",
        f"{sent:,} sent, {summary['taken']:,} shaped, {summary['bypassed']:,} bypassed "
        f"({sent / summary['taken']:.1f} times what was taken), 0 lost; {peak:.0f} MB of memory at most",
    )


def overflowed() -> int:
    """Datagrams that found the receiver's buffer full."""
    lines = [line.split() for line in Path("/proc/thread-self/net/snmp").read_text().splitlines()]
    names, values = [line for line in lines if line[0] == "Udp:"]
    return int(dict(zip(names, values, strict=True))["RcvbufErrors"])


def field(pid: int, name: str) -> str:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(line.partition(":")[2].strip() for line in lines if line.startswith(f"{name}:"))


@pytest.mark.parametrize(("fail", "lost", "address"), [("open", False, "::1"), ("closed", True, "127.0.0.1")])
def test_a_full_queue(fail: str, lost: bool, address: str, tmp_path: Path, network: None) -> None:
    sent = 70_000
    options = ("--policy", "delay:50s", "--max-hold", "60s", "--protocol", "udp", "--fail", fail, "--queue", "7")
    with Receiver(address) as receiver, Shaper(tmp_path, *options) as shaper:
        receiver.send_numbers(sent)
        held(7, 60_000)
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


def test_a_long_run_uses_no_more_memory(tmp_path: Path, receiver: Receiver, count: Count, figure: Figure) -> None:
    total, at_once = count(10_000_000), 2000
    sizes = []
    options = ("--policy", "delay:time=5ms", "--protocol", "udp", "--watchdog", "30s")
    with Shaper(tmp_path, *options) as shaper:
        descriptors = len(os.listdir(f"/proc/{shaper.process.pid}/fd"))
        for sent in range(0, total, at_once):
            if sent % (total // 10) == 0:
                sizes.append(int(field(shaper.process.pid, "VmRSS").split()[0]))
            receiver.send_numbers(at_once)
            assert receiver.numbers(at_once) == list(range(at_once))
        sizes.append(int(field(shaper.process.pid, "VmRSS").split()[0]))
        assert len(os.listdir(f"/proc/{shaper.process.pid}/fd")) <= descriptors + 1  # a worker thread's
        summary = shaper.stop()
    assert (summary["taken"], summary["sent"], summary["bypassed"], shaper.status) == (total, total, 0, 0)
    growth = sizes[-1] / sizes[1]
    # What it keeps as samples for the summary is complete after the first hundred thousand packets.
    assert growth <= (1.05 if total >= 1_000_000 else 1.25)
    figure(
        f"{total:,} packets through `delay:time=5ms`",
        f"none lost; {sizes[-1] / 1024:.1f} MB at the end, {growth:.3f} times that after the first tenth",
    )


CYCLES = """
import os, sys, trio
from shaper.live.rules import Match
from shaper.live.session import Settings, shape
from shaper.load import load

async def cycle():
    settings = Settings((load("delay:1ms"),), Match(protocol="udp"), queue=7, watchdog=30 * 10**9)
    stop = trio.Event()
    stop.set()
    await shape(settings, stop=stop)

trio.run(cycle)
before = sorted(os.listdir("/proc/self/fd"))
for _ in range(int(sys.argv[1])):
    trio.run(cycle)
assert sorted(os.listdir("/proc/self/fd")) == before, os.listdir("/proc/self/fd")
assert open(f"/proc/self/task/{os.getpid()}/children").read() == ""
"""


def test_many_starts_and_stops_leave_nothing(rule_set: Callable[[], list[str]], count: Count, figure: Figure) -> None:
    cycles = count(1000)
    before = rule_set()
    subprocess.run([sys.executable, "-c", CYCLES, str(cycles)], check=True)
    left = [line for line in rule_set() if line not in before]
    # iptables-nft leaves the empty table and its chains, which are no one's.
    assert not [line for line in left if line.startswith("-A") or "shaper" in line]
    figure(f"{cycles:,} starts and stops", "no rule, chain, process or descriptor left")
