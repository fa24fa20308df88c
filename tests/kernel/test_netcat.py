"""Two real netcats over a shaped lo: which of their system calls block, and how long.

The figures are those of the experiment that shaper began with: a constant delay keeps the
gaps between packets, so the server never waits for its data; once the client's burst is
spread, it does.
"""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import NamedTuple

import pytest

from tests.kernel.shaping import Shaper

pytestmark = [pytest.mark.usefixtures("network"), pytest.mark.alone]

PORT = "8765"
# They run before all else on a busy machine.
STRACE = ("nice", "-n", "-20", "strace", "-ttt", "-T")


class Call(NamedTuple):
    """A system call as strace saw it; times in ms."""

    name: str
    arguments: str
    start: float
    duration: float

    @property
    def end(self) -> float:
        return self.start + self.duration


def calls(trace: Path) -> list[Call]:
    found = [re.fullmatch(r"(\S+) (\w+)\((.*) <(\S+)>", line) for line in trace.read_text().splitlines()]
    return [Call(line[2], line[3], float(line[1]) * 1000, float(line[4]) * 1000) for line in found if line]


def talk(folder: Path, address: str) -> dict[str, float]:
    """One conversation; how long its calls waited, in ms."""
    server_trace, client_trace = folder / "server", folder / "client"
    server_calls = ("-e", "trace=accept,accept4,poll,read", "-o", str(server_trace))
    client_calls = ("-e", "trace=connect,pselect6,poll", "-o", str(client_trace))
    with subprocess.Popen([*STRACE, *server_calls, "nc", "-d", "-l", address, PORT], stdout=-1) as server:
        while "accept" not in (server_trace.read_text() if server_trace.exists() else ""):
            time.sleep(0.01)  # strace has no other way to show that the server listens
        command = [*STRACE, *client_calls, "nc", "-N", address, PORT]
        subprocess.run(command, input=b"shaper\n", stdout=subprocess.DEVNULL, check=True, timeout=20)
        received, _ = server.communicate(timeout=20)
    assert received == b"shaper\n"
    client, server_side = calls(client_trace), calls(server_trace)
    connect = next(call for call in client if call.name == "connect" and f"htons({PORT})" in call.arguments)
    accept = next(call for call in server_side if call.name.startswith("accept"))
    after = server_side[server_side.index(accept) :]
    data, end = (index for index, call in enumerate(after) if call.name == "read")

    def polls(part: list[Call]) -> float:
        return sum(call.duration for call in part if call.name == "poll")

    return {
        "connect": next(call.duration for call in client if call.name == "pselect6"),
        "close": [call.duration for call in client if call.name == "poll"][-1],
        "accept": accept.end - connect.start,
        "data": polls(after[:data]),
        "end of file": polls(after[data:end]),
    }


def medians(folder: Path, address: str) -> dict[str, float]:
    runs = [talk(folder, address) for _ in range(3)]
    return {name: median(run[name] for run in runs) for name in runs[0]}


@pytest.fixture(autouse=True)
def mtu(shell: Callable[[str], str]) -> None:
    shell("ip link set lo mtu 1500")


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_a_constant_delay_hides_the_servers_waits(tmp_path: Path, address: str) -> None:
    with Shaper(tmp_path, "--policy", "delay:time=100ms", "--port", PORT) as shaper:
        waited = medians(tmp_path, address)
        summary = shaper.stop()
    assert waited["connect"] == pytest.approx(200, abs=20)
    assert waited["close"] == pytest.approx(200, abs=20)
    assert waited["accept"] == pytest.approx(300, abs=20)
    assert waited["data"] < 20
    assert waited["end of file"] < 20
    assert (summary["bypassed"], summary["lost_to_reload"], shaper.status) == (0, 0, 0)


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_spreading_the_burst_shows_them(tmp_path: Path, address: str) -> None:
    spread = ("--policy", "delay:time=100ms", "--policy", "spread_burst:gap=100ms")
    with Shaper(tmp_path, *spread, "--port", PORT) as shaper:
        waited = medians(tmp_path, address)
        shaper.stop()
    assert waited["data"] >= 80
    assert waited["end of file"] >= 80
    assert waited["close"] == pytest.approx(400, abs=20)
    assert shaper.status == 0
