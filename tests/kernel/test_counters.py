"""The kernel's own counters of a queue."""

import socket

import pytest
from netfilterqueue import NetfilterQueue

from shaper.live.nfqueue.counters import Counters, QueueCounters, bound
from shaper.live.rules.rules import Match, Rules

pytestmark = pytest.mark.usefixtures("network")


def test_held_and_lost_packets() -> None:
    counters = QueueCounters(5)
    assert counters.read() is None
    queue = NetfilterQueue()
    queue.bind(5, lambda packet: packet.accept(), max_len=10)
    Rules(Match(protocol="udp"), 5).install()
    assert bound() == {5}
    assert counters.read() == Counters(held=0, lost_queue_full=0, lost_buffer_full=0)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for _ in range(13):
            sender.sendto(b"x", ("127.0.0.1", 9))
    assert counters.read() == Counters(held=10, lost_queue_full=3, lost_buffer_full=0)
    queue.run(block=False)
    assert counters.read() == Counters(held=0, lost_queue_full=3, lost_buffer_full=0)
    queue.unbind()
    assert counters.read() is None
    assert bound() == set()
    counters.close()
