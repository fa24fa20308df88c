"""What a long run of `shaper start` says while it goes on."""

import json
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from tests.kernel.shaping import START, Receiver, Shaper
from tests.schema import schema

pytestmark = pytest.mark.usefixtures("network")


@pytest.mark.parametrize("form", ["text", "json"])
def test_sigusr1_prints_the_counts(form: str, tmp_path: Path, receiver: Receiver) -> None:
    with Shaper(tmp_path, "--policy", "delay:1ms", "--protocol", "udp", "--log", form) as shaper:
        receiver.send_numbers(10)
        assert receiver.numbers(10) == list(range(10))
        time.sleep(1.2)  # engines report once a second
        shaper.process.send_signal(signal.SIGUSR1)
        assert shaper.process.stdout is not None
        shaper.process.stdout.readline()
        line = shaper.process.stdout.readline()
        shaper.stop()
    if form == "json":
        counts = json.loads(line)
        assert (counts["kind"], counts["taken"], counts["held"]) == ("counts", 10, 0)
    else:
        assert "+00:00 counts: 10 packets, 0 held, 0 dropped, 0 bypassed, " in line
    assert shaper.status == 0


def test_its_json_file_holds_the_counts_so_far(tmp_path: Path, receiver: Receiver) -> None:
    with Shaper(tmp_path, "--policy", "delay:1ms", "--protocol", "udp") as shaper:
        receiver.send_numbers(10)
        assert receiver.numbers(10) == list(range(10))
        deadline = time.monotonic() + 20
        while (document := json.loads((tmp_path / "summary.json").read_text())).get("taken") != 10:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert document["is_running"]
        schema("start").validate(document)
        last = shaper.stop()
    assert "is_running" not in last
    assert last["stages"] == {"delay": {"held": 10, "dropped": 0, "injected": 0}}
    schema("start").validate(last)
    assert not list(tmp_path.glob(".summary*"))


def test_systemd_is_told_when_packets_are_shaped(
    tmp_path: Path, network: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(20)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "200000")
        shaper = subprocess.Popen([*START, "--policy", "delay:1ms"], stdout=subprocess.PIPE)
        assert systemd.recv(1000) == b"READY=1\nSTATUS=delay:1ms"
        assert systemd.recv(1000) == systemd.recv(1000) == b"WATCHDOG=1"
        shaper.send_signal(signal.SIGTERM)
        shaper.communicate(timeout=20)
        while (word := systemd.recv(1000)) == b"WATCHDOG=1":
            pass
        assert word == b"STOPPING=1"
