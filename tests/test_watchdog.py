"""When the guardian takes the engine for dead: neither too late nor too soon."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from shaper.linux.proc import SchedStat
from shaper.live.guardian import process
from shaper.live.guardian.process import BEAT, GOODBYE, STOPS, GuardianOrder, watch
from shaper.live.rules.owner import Owner
from shaper.units import ms, s

WATCHDOG = 20 * ms
# Watches this process, with a watchdog of 400 ms, and prints why its packets have to be rescued.
WATCH = """
import os, socket, sys
from shaper.live.rules.owner import Owner
from shaper.live.guardian.process import GuardianOrder, watch
beats = socket.socket(fileno=int(sys.argv[1]))
print(watch(beats, GuardianOrder(0, Owner.here(1), {}, 400_000_000, os.getppid())))
"""


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """The engine's end and the guardian's."""
    pair = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    yield pair
    for end in pair:
        end.close()


def order() -> GuardianOrder:
    return GuardianOrder(queue=0, owner=Owner.here(0), rules={}, watchdog=WATCHDOG, engine=os.getpid())


def scheduled(monkeypatch: pytest.MonkeyPatch, *readings: tuple[int, int]) -> list[tuple[int, int]]:
    """Replace the kernel's times of the engine's thread, in ms, by these; returns those not yet read."""
    to_come = list(readings)
    monkeypatch.setattr(process, "_scheduled", lambda pid: SchedStat(*(value * ms for value in to_come.pop(0))))
    return to_come


def test_an_engine_that_says_goodbye_needs_no_rescue(ends: tuple[socket.socket, socket.socket]) -> None:
    ends[0].send(BEAT)
    ends[0].send(GOODBYE)
    assert watch(ends[1], order()) is None


def test_an_engine_whose_end_is_closed_has_died(ends: tuple[socket.socket, socket.socket]) -> None:
    ends[0].close()
    assert watch(ends[1], order()) == "the engine has died"


def test_one_that_died_before_it_read_an_answer_has_died(ends: tuple[socket.socket, socket.socket]) -> None:
    ends[1].send(b"answer")
    ends[0].close()
    assert watch(ends[1], order()) == "the engine has died"


def test_one_that_starts_has_more_time(
    ends: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    to_come = scheduled(monkeypatch, (5, 5), (5, 5))
    begun = time.monotonic_ns()
    assert watch(ends[1], order()) == "the engine has given no sign of life for 20ms"
    assert time.monotonic_ns() - begun >= 10 * WATCHDOG
    assert not to_come


def test_one_that_sleeps_for_too_long_hangs(
    ends: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    ends[0].send(BEAT)
    to_come = scheduled(monkeypatch, (5, 5), (5, 5), (5, 5))
    assert watch(ends[1], order()) == "the engine has given no sign of life for 20ms"
    assert not to_come


def test_one_that_was_stopped_as_announced_is_silent_for_as_long_as_it_likes(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    reasons: list[str | None] = []
    guardian = threading.Thread(target=lambda: reasons.append(watch(ends[1], order())))
    guardian.start()
    ends[0].send(STOPS)
    ends[0].send(b"look")  # by another thread; it still stops
    assert ends[0].recv(1 << 12)
    guardian.join(20 * WATCHDOG / s)
    assert guardian.is_alive()
    ends[0].send(BEAT)
    guardian.join()
    assert reasons == ["the engine has given no sign of life for 20ms"]


def test_one_that_dies_while_it_is_stopped_has_died(ends: tuple[socket.socket, socket.socket]) -> None:
    ends[0].send(STOPS)
    ends[0].close()
    assert watch(ends[1], order()) == "the engine has died"


def test_one_that_gets_no_cpu_has_more_time_until_it_has_run_long_enough(
    ends: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    ends[0].send(BEAT)
    to_come = scheduled(monkeypatch, (0, 0), (0, 0), (3, 17), (6, 34), (11, 51))
    assert watch(ends[1], order()) == "the engine has given no sign of life for 20ms"
    assert not to_come


def test_one_that_got_no_cpu_and_then_sleeps_hangs(
    ends: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    ends[0].send(BEAT)
    to_come = scheduled(monkeypatch, (0, 0), (0, 0), (3, 17), (3, 18))
    assert watch(ends[1], order()) == "the engine has given no sign of life for 20ms"
    assert not to_come


def test_a_pause_a_little_longer_than_the_watchdog_is_no_silence() -> None:
    """As when a container is paused and then goes on: the guardian runs before the engine."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        with theirs:
            command = [sys.executable, "-c", WATCH, str(theirs.fileno())]
            process = subprocess.Popen(command, pass_fds=[theirs.fileno()], stdout=subprocess.PIPE, text=True)
        ours.send(b"look")  # an answer shows that it watches
        assert ours.recv(1 << 12)
        time.sleep(0.1)  # it waits again
        os.kill(process.pid, signal.SIGSTOP)
        time.sleep(0.6)
        os.kill(process.pid, signal.SIGCONT)
        time.sleep(0.05)
        ours.send(b"bye")
        assert process.communicate(timeout=20)[0] == "None\n"
