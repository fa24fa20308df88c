"""A hook that doesn't return within the watchdog's time is ended, and its line is named."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from shaper import Answer, Packet, ms
from shaper.core.core import Core
from shaper.live.guardian.endless import SIGNAL, interruptible
from tests.cores import Keeps, run, udp


class Sleeps(Keeps):
    def on_packet(self, packet: Packet, now: int) -> Answer:
        if packet.id == 2:
            time.sleep(60)
        return super().on_packet(packet, now)


class Loops(Keeps):
    def on_packet(self, packet: Packet, now: int) -> Answer:
        while packet.id == 2:
            pass  # for ever
        return super().on_packet(packet, now)


@pytest.mark.parametrize(("policy", "line"), [(Sleeps, "time.sleep(60)"), (Loops, "while packet.id == 2:|# for ever")])
def test_a_hook_that_takes_too_long_is_ended_and_named(policy: type[Keeps], line: str) -> None:
    core = Core([policy()])
    guardian = threading.Timer(0.1, os.kill, (os.getpid(), SIGNAL))
    with interruptible(1500 * ms):
        guardian.start()
        fates = run(core, udp(1), udp(2), udp(3, ms))
    assert fates == [(1, "sent", 0), (2, "sent", 0), (3, "sent", ms)]
    (failure,) = core.failures
    file, _, number = failure.where.rpartition(":")
    assert file == __file__
    assert any(text in Path(__file__).read_text().splitlines()[int(number) - 1] for text in line.split("|"))
    assert failure.what == "it took longer than --watchdog 1.5s"


def test_outside_of_hooks_nothing_is_ended() -> None:
    before = signal.getsignal(SIGNAL)
    with interruptible(ms):
        signal.raise_signal(SIGNAL)
    assert signal.getsignal(SIGNAL) is before
