"""The end of a run while packets still wait in the queue: each is taken before the queue is closed."""

from __future__ import annotations

import subprocess

import pytest
import trio

from shaper.live.nfqueue.counters import bound
from shaper.live.rules.rules import Match
from shaper.live.run import Run
from shaper.live.session import shape
from shaper.live.settings import Settings
from shaper.spec.load import load
from tests.kernel.shaping import Receiver

PACKETS = 30_000
"""More than the engine takes in one turn, and fewer than the queue's socket has room for."""
SOMEONE_ELSES = ["iptables", "-t", "mangle", "-A", "INPUT", "-p", "udp", "-j", "NFQUEUE", "--queue-num", "7"]


@pytest.mark.parametrize("install_rules", [True, False], ids=["our rules", "somebody else's rules"])
def test_what_waits_in_the_queue_at_the_end_goes_on(install_rules: bool, receiver: Receiver) -> None:
    if not install_rules:
        subprocess.run(SOMEONE_ELSES, check=True)
    stop = trio.Event()

    def started(run: Run) -> None:
        """The packets come before the engine's first turn, and the run is to end at once."""
        receiver.send_numbers(PACKETS)
        stop.set()

    settings = Settings(
        (load("pass_through"),), Match(protocol="udp"), queue=7, watchdog=30 * 10**9, install_rules=install_rules
    )
    summary = trio.run(lambda: shape(settings, started=started, stop=stop))
    assert (summary.taken, summary.sent, summary.lost, summary.bypassed) == (
        PACKETS,
        PACKETS,
        0,
        0 if install_rules else None,
    )
    assert receiver.numbers(PACKETS) == list(range(PACKETS))
    assert not bound()
