"""The front of `shaper start`: it sees no packet, so what happens to it happens to none."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.kernel.shaping import (
    START,
    Receiver,
    Shaper,
    children,
    command_line,
    nothing_is_left,
    wait_until_held,
)

pytestmark = pytest.mark.usefixtures("network")

HELD = ("--policy", "delay:90s", "--max-hold", "2min", "--protocol", "udp", "--queue", "7")


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.005)  # they aren't our children


def test_when_it_is_killed_the_engine_ends_in_order(
    tmp_path: Path, receiver: Receiver, rule_set: Callable[[], list[str]]
) -> None:
    journal = tmp_path / "journal.json"
    with Shaper(tmp_path, *HELD, "--journal", str(journal)) as shaper:
        engine = shaper.engine
        others = [engine, *children(engine)]
        receiver.send_numbers(1000)
        wait_until_held(7, 1000)
        shaper.process.kill()
        assert receiver.numbers(1000) == list(range(1000))
        wait_until(lambda: not any(map(command_line, others)))
    assert nothing_is_left(rule_set)
    assert journal.read_text().count('"fate"') == 1000


def test_while_it_is_stopped_shaping_goes_on(tmp_path: Path, receiver: Receiver) -> None:
    """As by Ctrl-Z, longer than the watchdog's time, and the engine is told to stop too."""
    with Shaper(tmp_path, "--policy", "delay:1ms", "--protocol", "udp", "--watchdog", "200ms") as shaper:
        os.kill(shaper.process.pid, signal.SIGSTOP)
        os.kill(shaper.engine, signal.SIGTSTP)
        time.sleep(0.6)
        receiver.send_numbers(100)
        assert receiver.numbers(100) == list(range(100))
        shaper.process.send_signal(signal.SIGCONT)
        summary = shaper.stop()
    assert (summary["taken"], summary["sent"], summary["bypassed"], shaper.status) == (100, 100, 0, 0)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_all_its_processes_is_one_signal(
    number: signal.Signals, tmp_path: Path, receiver: Receiver, rule_set: Callable[[], list[str]]
) -> None:
    """As a terminal sends it, and systemd."""
    with Shaper(tmp_path, *HELD) as shaper:
        engine = shaper.engine
        receiver.send_numbers(1000)
        wait_until_held(7, 1000)
        for pid in (*children(engine), engine, shaper.process.pid):
            os.kill(pid, number)
        summary = shaper.result()
    assert receiver.numbers(1000) == list(range(1000))
    assert (summary["sent"], summary["bypassed"], shaper.status) == (1000, 0, 0)
    assert not shaper.errors
    assert nothing_is_left(rule_set)


def test_whoever_may_end_the_engine_ends_all_in_order(tmp_path: Path, receiver: Receiver) -> None:
    with Shaper(tmp_path, *HELD) as shaper:
        receiver.send_numbers(10)
        wait_until_held(7, 10)
        os.kill(shaper.engine, signal.SIGTERM)
        summary = shaper.result()
    assert receiver.numbers(10) == list(range(10))
    assert (summary["sent"], shaper.status) == (10, 0)


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (signal.SIGKILL, "the engine was ended by signal 9 (Killed)"),
        (signal.SIGSTOP, "the engine has given no sign of life for 300ms"),
    ],
)
def test_an_engine_that_ends_before_its_time_is_an_error_of_one_line(
    number: signal.Signals, said: str, tmp_path: Path, receiver: Receiver, rule_set: Callable[[], list[str]]
) -> None:
    with Shaper(tmp_path, *HELD, "--watchdog", "300ms") as shaper:
        receiver.send_numbers(100)
        wait_until_held(7, 100)
        os.kill(shaper.engine, number)
        assert receiver.numbers(100) == list(range(100))
        assert shaper.process.wait(20) == 1
    assert shaper.errors == f"shaper: {said}; what was held goes on unshaped, and the rules are removed\n"
    assert nothing_is_left(rule_set)


def test_a_policy_file_prints_once_and_shares_the_standard_streams(tmp_path: Path, receiver: Receiver) -> None:
    policy = tmp_path / "prints.py"
    policy.write_text(
        "import sys\nfrom shaper import Policy\n\nprint('loaded')\nprint('careful', file=sys.stderr)\n\n\n"
        "class Prints(Policy):\n    def on_packet(self, packet, now):\n"
        "        print('from', sys.stdin.readline().strip(), flush=True)\n"
    )
    command = [*START, "--policy", str(policy), "--protocol", "udp"]
    shaper = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path
    )
    assert shaper.stdin is not None
    assert shaper.stdout is not None
    said = [shaper.stdout.readline() for _ in range(3)]
    shaper.stdin.write("me\n")
    shaper.stdin.flush()
    receiver.send_numbers(1)
    assert receiver.numbers(1) == [0]
    assert shaper.stdout.readline() == "from me\n"
    shaper.send_signal(signal.SIGINT)
    out, errors = shaper.communicate(timeout=20)
    assert said[0] == "loaded\n"
    assert said[1].startswith("shaping ")
    assert "loaded" not in out
    assert (errors, shaper.returncode) == ("careful\n", 0)


def test_a_journal_may_be_a_file_that_the_shell_opened(tmp_path: Path, receiver: Receiver) -> None:
    """As by `--journal >(gzip >journal.gz)`."""
    reading, writing = os.pipe()
    command = [*START, "--policy", "delay:1ms", "--protocol", "udp", "--journal", f"/dev/fd/{writing}"]
    shaper = subprocess.Popen(command, pass_fds=[writing], stdout=subprocess.PIPE, text=True)
    os.close(writing)
    assert shaper.stdout is not None
    assert shaper.stdout.readline().startswith("shaping ")
    receiver.send_numbers(10)
    assert receiver.numbers(10) == list(range(10))
    shaper.send_signal(signal.SIGINT)
    shaper.communicate(timeout=20)
    with open(reading) as journal:
        assert journal.read().count('"fate"') == 10
