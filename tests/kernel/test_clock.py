"""When packets arrived, by the kernel's stamps, whatever is done to the clock that it stamps them by."""

from __future__ import annotations

import select
import time
from contextlib import closing

import pytest

from shaper.live.nfqueue.queue import HEADERS, Queue
from shaper.live.rules.rules import Match, Rules
from shaper.units import s
from shaper.wire.packet import Packet
from tests.kernel.shaping import Receiver


def take(queue: Queue) -> Packet:
    assert select.select([queue], [], [], 20)[0]
    (packet,) = queue.take()
    return packet


@pytest.mark.parametrize("step", [3600 * s, -3600 * s])
def test_packets_are_no_older_after_the_clock_was_set(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    real = time.time_ns
    with closing(Queue(7, copy_range=HEADERS, length=10, buffer=1 << 16)) as queue:
        rules = Rules(Match(protocol="udp"), 7)
        rules.install()
        for shift in (0, step, 0):
            sent = time.monotonic_ns()
            receiver.send_numbers(1)
            # The process's own view of the clock stands for the machine's, which is not ours to set.
            monkeypatch.setattr(time, "time_ns", lambda shift=shift: real() + shift)
            packet = take(queue)
            assert sent <= packet.arrived <= packet.taken
        rules.remove()
