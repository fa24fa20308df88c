"""When the engine lets packets gather: in a stream, but not when each is sent once the last has arrived."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from functools import partial
from typing import cast

import pytest
import trio

from shaper.core.core import Core
from shaper.core.verdict import Verdict
from shaper.live.engine import LONE_PACKETS, Engine
from shaper.live.inject import Injector
from shaper.live.nfqueue.queue import Queue
from shaper.live.waiting import Waiting
from shaper.spec.load import load
from shaper.wire.packet import Packet
from tests.captures import UDP

COUNT = 2000


class Traffic:
    """A queue. A new packet comes as soon as the last one has gone on, and `streaming` more while packets gather."""

    def __init__(self, end: trio.CancelScope, streaming: int, reader: int) -> None:
        self._end, self._streaming, self._reader = end, streaming, reader
        self.gathered = self.taken = 0
        self._waiting = 1

    def fileno(self) -> int:
        return self._reader

    def receive(self) -> int:
        return self._waiting

    @property
    def is_answered(self) -> bool:
        return False

    def packets(self) -> list[Packet]:
        now = time.monotonic_ns()
        packets = [Packet(UDP, self.taken + nth + 1, now) for nth in range(self._waiting)]
        self.taken += self._waiting
        self._waiting = 0
        return packets

    def answer(self, verdicts: Sequence[Verdict], at: int = 0) -> None:
        self._waiting = 1
        if self.taken > COUNT:
            self._end.cancel()

    def gather(self, deadline: int | None, now: int) -> None:
        self.gathered += 1
        self._waiting += self._streaming


async def shape(streaming: int, monkeypatch: pytest.MonkeyPatch) -> Traffic:
    reader, writer = os.pipe()
    os.write(writer, b"x")  # always readable, so that no sleep takes time
    with trio.CancelScope() as end:
        traffic = Traffic(end, streaming, reader)
        queue, injector = cast(Queue, traffic), cast(Injector, None)
        engine = Engine(Core([load("pass_through")]), queue, injector, recorder=None, one_by_one=False)
        monkeypatch.setattr(Waiting, "gather", lambda self, deadline, now: traffic.gather(deadline, now))
        await engine.run()
    engine.close()
    os.close(reader)
    os.close(writer)
    return traffic


def test_lone_packets_are_gathered_only_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    traffic = trio.run(partial(shape, 0, monkeypatch))
    assert traffic.gathered <= traffic.taken / LONE_PACKETS + 1


def test_a_stream_is_gathered(monkeypatch: pytest.MonkeyPatch) -> None:
    traffic = trio.run(partial(shape, 40, monkeypatch))
    assert traffic.gathered * 40 > COUNT / 2
