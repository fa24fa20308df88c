"""A run of `shaper start` that is looked at and changed while packets flow."""

import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from itertools import cycle, pairwise
from pathlib import Path

import pytest

from shaper.cli import main
from shaper.control.client import Client, running
from shaper.errors import ShaperError
from shaper.journal import Held, read_journal
from tests.kernel.shaping import START, Receiver, Shaper, children, command_line, nothing_is_left, wait_until_held

pytestmark = pytest.mark.usefixtures("network")

FAR = ("--policy", "delay:90s", "--max-hold", "2min", "--protocol", "udp", "--queue", "7")


@pytest.fixture
def name(tmp_path: Path) -> str:
    return f"test-{os.getpid()}-{tmp_path.name[-20:]}".replace("[", "").replace("]", "")


@pytest.mark.parametrize("workers", [1, 2])
def test_its_state_is_shown_and_changed(workers: int, name: str, tmp_path: Path, receiver: Receiver) -> None:
    options = (*FAR, "--workers", str(workers), "--name", name)
    with Shaper(tmp_path, *options) as shaper:
        client = Client(name)
        receiver.send_numbers(10)
        wait_until_held(7, 10) if workers == 1 else time.sleep(0.5)
        status = client.status()
        assert (status["name"], status["state"], status["pid"]) == (name, "shaping", shaper.process.pid)
        assert status["shapes"] == "input packets of lo, udp"
        assert status["policies"] == ["delay:90s"]
        assert (status["taken"], status["held"], status["sent"], status["bypassed"]) == (10, 10, 0, 0)
        assert status["queues"] == list(range(7, 7 + workers))
        (stage,) = client.pipeline()
        assert (stage["name"], stage["held"], stage["options"]["time"]) == ("delay", 10, "90s")
        assert client.set("delay", {"time": "1ms"})["options"]["time"] == "1ms"
        assert client.release()["held"] == 0
        assert receiver.numbers(10) == list(range(10))
        receiver.send_numbers(10)
        assert receiver.numbers(10) == list(range(10))
        client.replace(["loss:100%", "delay:20ms"])
        receiver.send_numbers(5)
        assert client.pause()["state"] == "paused"
        receiver.send_numbers(5)
        assert receiver.numbers(5) == list(range(5))
        assert client.resume()["state"] == "shaping"
        assert [each["name"] for each in client.pipeline()] == ["loss", "delay"]
        summary = shaper.stop()
    assert (summary["taken"], summary["sent"], summary["dropped_by"], summary["bypassed"]) == (30, 25, {"loss": 5}, 0)
    assert shaper.status == 0


def test_an_engine_that_nobody_else_wakes_answers_each_time(name: str, tmp_path: Path) -> None:
    """Without rules of ours nothing is checked once a second, so it sleeps until it is asked."""
    with Shaper(tmp_path, *FAR, "--no-rules", "--name", name):
        client = Client(name)
        for _ in range(20):
            assert client.status()["bypassed"] is None
            time.sleep(0.03)  # what the front knows is fresh for 20 ms


@pytest.mark.parametrize("workers", [1, 2])
def test_what_is_wrong_changes_nothing(workers: int, name: str, tmp_path: Path, receiver: Receiver) -> None:
    exits = tmp_path / "exits.py"
    exits.write_text("import sys\nsys.exit()\n")
    with Shaper(tmp_path, *FAR, "--workers", str(workers), "--name", name):
        client = Client(name)
        before = client.pipeline()
        for specs in (["nothing"], ["delay:x=1"], ["delay:5min"], [str(tmp_path / "none.py")], [str(exits)]):
            with pytest.raises(ShaperError):
                client.replace(specs)
        for stage, options in (("loss", {"time": "1ms"}), ("delay", {"time": "x"}), ("delay", {"scope": "queue"})):
            with pytest.raises(ShaperError):
                client.set(stage, options)
        assert client.pipeline() == before


def test_a_pipeline_that_needs_whole_packets_gets_them(name: str, tmp_path: Path, receiver: Receiver) -> None:
    source = (
        "from shaper import Drop, Policy\n\n\nclass Last(Policy):\n    needs = 'packet'\n\n"
        "    def on_packet(self, packet, now):\n        if packet.truncated or packet.raw[-1] != 7:\n"
        "            return Drop(packet)\n"
    )
    with Shaper(tmp_path, "--policy", "delay:1ms", "--protocol", "udp", "--name", name) as shaper:
        client = Client(name)
        receiver.send_numbers(3, bytes(1000))
        assert receiver.numbers(3) == [0, 1, 2]
        # pytest's own folders are closed to the engine, which is an ordinary user by now.
        policy = Path("/tmp") / f"{name}.py"
        policy.write_text(source)
        try:
            client.replace([str(policy)])
        finally:
            policy.unlink()
        receiver.send_numbers(3, bytes(999) + b"\7")
        assert receiver.numbers(3) == [0, 1, 2]
        assert shaper.stop()["dropped"] == 0


def test_flows_events_and_meters(name: str, tmp_path: Path, receiver: Receiver) -> None:
    options = ("--policy", "delay:1ms", "--protocol", "udp", "--name", name)
    with Shaper(tmp_path, *options) as shaper:
        client = Client(name)
        assert client.flows() == []
        receiver.send_numbers(10)
        assert receiver.numbers(10) == list(range(10))
        (flow,) = client.flows()
        assert flow["flow"].endswith(f" > 127.0.0.1:{receiver.getsockname()[1]} udp")
        assert (flow["packets"], flow["bytes"], flow["held"], flow["classes"]) == (10, 320, 0, {"udp": 10})
        assert 1 <= flow["hold_ms"] < 100
        events = client.events()
        change = threading.Timer(0.5, lambda: Client(name).set("delay", {"time": "2ms"}))
        change.start()
        event = next(event for event in events if event["kind"] == "change")
        change.join()
        assert event["data"] == {"what": "change", "stage": "delay", "options": {"time": "2ms"}}
        threading.Timer(0.5, lambda: receiver.send_numbers(1)).start()
        event = next(event for event in events if event["kind"] == "packet")
        assert (event["data"]["fate"], event["data"]["class"], event["data"]["len"]) == ("sent", "udp", 32)
        shaper.stop()


PACED = """
import socket, sys, time
sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sender.connect(("127.0.0.1", int(sys.argv[1])))
rate, seconds = int(sys.argv[2]), float(sys.argv[3])
start = time.monotonic()
number = 0
while (passed := time.monotonic() - start) < seconds:
    while number < passed * rate:
        sender.send(number.to_bytes(4) + bytes(60))
        number += 1
print(number)
"""


@pytest.mark.alone
@pytest.mark.parametrize("how", ["in order", "front killed"])
def test_many_changes_lose_and_reorder_nothing(
    how: str,
    name: str,
    tmp_path: Path,
    receiver: Receiver,
    rule_set: Callable[[], list[str]],
    count: Callable[[int], int],
    figure: Callable[[str, str], None],
) -> None:
    """Options change 20 times a second, and the pipeline is replaced once a second."""
    is_full = count(50) == 50
    rate, seconds = (10_000, 20.0) if is_full else (5_000, 3.0)
    options = ("--policy", "delay:20ms", "--protocol", "udp", "--queue", "7", "--name", name)
    with Shaper(tmp_path, *options) as shaper:
        client = Client(name)
        engine = shaper.engine
        others = [engine, *children(engine)]
        numbers: list[int] = []
        is_over = threading.Event()

        def receive() -> None:
            receiver.settimeout(1)
            while True:
                try:
                    numbers.append(int.from_bytes(receiver.recv(100)[:4]))
                except TimeoutError:
                    if is_over.is_set():
                        return

        receiving = threading.Thread(target=receive)
        receiving.start()
        command = [sys.executable, "-c", PACED, str(receiver.getsockname()[1]), str(rate), str(seconds)]
        sender = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        changes, begun = 0, time.monotonic()
        for wanted in cycle(["20ms", "21ms", "19ms", "20ms"]):
            if time.monotonic() - begun > seconds - 0.5:
                break
            if changes % 20 == 19:
                client.replace(["delay:20ms"])
            else:
                client.set("delay", {"time": wanted})
            changes += 1
            time.sleep(max(0, begun + changes / 20 - time.monotonic()))
        if how == "front killed":
            shaper.process.kill()
        sent = int(sender.communicate()[0])
        is_over.set()
        receiving.join(30)
        overtaken = sum(1 for before, after in pairwise(numbers) if after < before)
        assert sorted(numbers) == list(range(sent))
        # Once the rules are gone, what comes may overtake what the queue still holds.
        assert overtaken <= (sent // 100 if how == "front killed" else 0)
        if how == "front killed":
            deadline = time.monotonic() + 20
            while any(map(command_line, others)):
                assert time.monotonic() < deadline
                time.sleep(0.01)
        else:
            summary = shaper.stop()
            assert (summary["taken"], summary["sent"], summary["bypassed"]) == (sent, sent, 0)
    assert nothing_is_left(rule_set)
    figure(
        f"{rate:,} packets/s for {seconds:.0f} s, options changed 20 times a second, the pipeline replaced once a "
        f"second, {how}",
        f"{sent:,} of {sent:,} delivered once, {overtaken} out of order, {changes:,} changes",
    )


def decisions(journal: Path) -> list[tuple[int, str, int, tuple[Held, ...], str]]:
    """The decision on each packet, in order of arrival: when it came, its fate, its plan, its holds, and by whom."""
    _, records = read_journal(journal)
    first = min(record.arrived for record in records)
    return [
        (record.arrived - first, record.fate, record.planned - record.arrived, record.held, record.by)
        for record in sorted(records, key=lambda record: record.id)
    ]


def test_a_replay_of_a_changed_run_decides_the_same(name: str, tmp_path: Path, receiver: Receiver) -> None:
    capture, journal, again = (tmp_path / each for each in ("in.pcapng", "live.jsonl", "again.jsonl"))
    policies = ("--policy", "delay:time=20ms,jitter=5ms", "--policy", "loss:20%")
    files = ("--pcap-arrived", str(capture), "--journal", str(journal))
    with Shaper(tmp_path / "shaper", *policies, *files, "--protocol", "udp", "--queue", "7", "--name", name) as shaper:
        client = Client(name)
        changes: list[Callable[[], object]] = [
            lambda: client.set("delay", {"time": "50ms", "jitter": "10ms"}),
            client.pause,
            client.resume,
            lambda: client.replace(["loss:30%", "delay:5ms", "spread_burst:gap=100us"]),
            client.release,
            lambda: client.set("loss", {"probability": "50%"}),
        ]
        for change in changes:
            receiver.send_numbers(50)
            change()
        receiver.send_numbers(50)
        wait_until_held(7, at_most=0)
        shaper.stop()
    assert main(["replay", str(capture), *policies, "--changes", str(journal), "--journal", str(again)]) == 0
    assert decisions(journal) == decisions(again)
    assert {fate for _, fate, *_ in decisions(again)} == {"sent", "dropped"}


def test_a_log_that_nobody_reads_keeps_nobody_waiting(name: str, tmp_path: Path) -> None:
    """As with `shaper start | less`: the pipe is full long before the changes end."""
    command = [*START, "--policy", "delay:1ms", "--protocol", "udp", "--queue", "7", "--name", name]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=tmp_path) as process:
        try:
            assert process.stdout is not None
            fcntl.fcntl(process.stdout, fcntl.F_SETPIPE_SZ, 4096)
            while name not in running():
                assert process.poll() is None
                time.sleep(0.01)
            client = Client(name)
            for number in range(100):
                client.set("delay", {"time": f"{number}us"})
            assert client.status()["state"] == "shaping"
        finally:
            process.send_signal(signal.SIGINT)
            out, _ = process.communicate(timeout=30)
    # All is written once somebody reads.
    assert out.count(b" change delay time=") == 100
    assert process.returncode == 0
