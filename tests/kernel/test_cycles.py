"""Many starts and stops leave nothing behind: no rule, chain, process, descriptor, trace instance, namespace."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from shaper.trace.record.tracefs import obstacle
from tests.kernel.shaping import START

pytestmark = pytest.mark.usefixtures("network")

# Descriptors and children of one process that shapes again and again.
CYCLES = """
import os, sys, trio
from shaper.live.rules.rules import Match
from shaper.live.session import Settings, shape
from shaper.spec.load import load

async def cycle():
    settings = Settings((load("delay:1ms"),), Match(protocol="udp"), queue=7, watchdog=30 * 10**9)
    stop = trio.Event()
    stop.set()
    await shape(settings, stop=stop)

trio.run(cycle)
before = sorted(os.listdir("/proc/self/fd"))
for number in range(int(sys.argv[1])):
    trio.run(cycle)
    print(number, flush=True)
assert sorted(os.listdir("/proc/self/fd")) == before, os.listdir("/proc/self/fd")
assert open(f"/proc/self/task/{os.getpid()}/children").read() == ""
"""
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
MARK = "SHAPER_TEST_CYCLES"
INSTANCES = Path("/sys/kernel/tracing/instances")
NAMED = Path("/run/netns")


@pytest.fixture
def left(rule_set: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """What this test's shapers have left."""
    mark = f"{os.getpid()}-{time.monotonic_ns()}"
    monkeypatch.setenv(MARK, mark)
    before = rule_set()
    named = set(NAMED.glob("*"))

    def left() -> list[str]:
        # iptables-nft leaves the empty table and its chains, which are no one's.
        rules = [line for line in rule_set() if line not in before and (line.startswith("-A") or "shaper" in line)]
        environment = f"{MARK}={mark}".encode()
        # A namespace lasts as long as a process is in it, or a name is mounted.
        processes = [pid for pid in environments(environment) if pid != os.getpid()]
        # Instances are named by their process; those of a PID namespace are another test's.
        owners = {path.name: path.name.split("-")[1] for path in INSTANCES.glob("shaper-*")}
        instances = [name for name, pid in owners.items() if pid.isdecimal() and not Path("/proc", pid).exists()]
        return [*rules, *map(str, processes), *instances, *map(str, set(NAMED.glob("shaper*")) - named)]

    return left


def environments(having: bytes) -> list[int]:
    """The processes that have this in their environment."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if having in (process / "environ").read_bytes().split(b"\0"):
                found.append(int(process.name))
        except OSError:
            continue  # it has ended meanwhile
    return found


def test_in_one_process(
    left: Callable[[], list[str]],
    count: Callable[[int], int],
    progress: Callable[[int, int], None],
    figure: Callable[[str, str], None],
) -> None:
    cycles = count(1000)
    command = [sys.executable, "-c", CYCLES, str(cycles)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            progress(int(line), cycles)
    assert process.returncode == 0
    assert not left()
    figure(f"{cycles:,} starts and stops in one process", "no rule, chain, process or descriptor left")


def start_and_stop(nth: int) -> None:
    """`shaper start`, ended by one signal or another."""
    command = [*START, "--policy", "delay:1ms", "--protocol", "udp"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("shaping "), process.communicate()
        process.send_signal(SIGNALS[nth % len(SIGNALS)])
        _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")


def run_traced(nth: int) -> None:
    """`shaper run`, traced."""
    command = [sys.executable, "-m", "shaper", "run", "--policy", "delay:1ms", "--trace", "--", "true"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("cycle", "name", "whole"),
    [(start_and_stop, "`shaper start` and stop", 1000), (run_traced, "`shaper run --trace`", 100)],
)
def test_as_commands(
    cycle: Callable[[int], None],
    name: str,
    whole: int,
    left: Callable[[], list[str]],
    count: Callable[[int], int],
    progress: Callable[[int, int], None],
    figure: Callable[[str, str], None],
) -> None:
    if cycle is run_traced and (why := obstacle()) is not None:
        pytest.skip(why)
    cycles = count(whole)
    # Several at once: they must not get into each other's way either. Threads of this one are in its namespace.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for number, _ in enumerate(pool.map(cycle, range(cycles))):
            progress(number, cycles)
    assert not left()
    figure(
        f"{name}, {cycles:,} times, {os.cpu_count()} at once",
        "no rule, chain, process, trace instance or namespace left",
    )
