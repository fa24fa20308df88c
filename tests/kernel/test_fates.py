"""The seed decides what becomes of which packet: in every live run, and in a replay of its capture."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from shaper.cli import main
from shaper.live.nfqueue.counters import QueueCounters
from tests.kernel.shaping import Receiver, Shaper

pytestmark = pytest.mark.usefixtures("network")

COUNT = 300


def fates(journal: Path) -> list[tuple[str, str]]:
    """Of each packet, in order of arrival, and which policy dropped it."""
    lines = [line for line in map(json.loads, journal.read_text().splitlines()) if "fate" in line]
    taken = sorted((line for line in lines if line["id"]), key=lambda line: line["id"])
    return [(line["fate"], line["by"]) for line in taken]


def wait_until_none_is_held(queue: int) -> None:
    counters = QueueCounters(queue)
    deadline = time.monotonic() + 20
    while (row := counters.read()) is None or row.held:
        assert time.monotonic() < deadline, row
        time.sleep(0.01)  # the kernel has no event for this
    counters.close()


@pytest.mark.parametrize(
    "specs",
    [
        ("loss:20%",),
        ("loss:20%,scope=flow",),
        ("fates:#1 original udp 7: drop; #1 original udp 9: hold 3ms; #1 original udp 20: twice",),
        ("delay:time=2ms,jitter=1ms", "loss:model=gemodel,p=10%", "duplicate:10%", "drop_first:nth=7,count=3,only=udp"),
    ],
    ids=lambda specs: "|".join(specs),
)
def test_the_same_packets_are_dropped_whatever_the_clients_port(specs: tuple[str, ...], tmp_path: Path) -> None:
    policies = [word for spec in specs for word in ("--policy", spec)]
    found, ports = [], []
    capture, again = tmp_path / "capture.pcapng", tmp_path / "again"
    with Receiver() as receiver:
        service = receiver.getsockname()
        for number in (1, 2):
            journal = tmp_path / f"journal{number}"
            files = ("--journal", str(journal), "--pcap", str(capture))
            with Shaper(tmp_path, *policies, "--seed", "5", "--queue", "7", "--protocol", "udp", *files) as shaper:
                receiver.sender.close()
                receiver.sender = type(receiver.sender)(receiver.family, receiver.type)
                receiver.sender.connect(service)
                ports.append(receiver.sender.getsockname()[1])
                receiver.send_numbers(COUNT)
                # What is held at the end goes on, by no policy's choice.
                wait_until_none_is_held(7)
                assert shaper.stop()["taken"] == COUNT
            found.append(fates(journal))
    assert ports[0] != ports[1]
    assert found[0] == found[1]
    assert {fate for fate, _ in found[0]} == {"sent", "dropped"}
    assert main(["replay", str(capture), *policies, "--seed", "5", "--journal", str(again)]) == 0
    assert fates(again) == found[0]
