"""The engine on a queue that is none: what it takes goes on in time, whoever made it work."""

import socket
import time
from collections.abc import Sequence
from typing import cast

import trio
import trio.testing

from shaper import Packet, ms
from shaper.core import Core
from shaper.live.engine import Engine
from shaper.live.inject import Injector
from shaper.live.queue import Queue
from shaper.load import load
from shaper.verdict import Verdict
from tests.cores import udp


class FakeQueue:
    """Gives what `waiting` has; its socket never tells of any."""

    def __init__(self) -> None:
        self.waiting: list[Packet] = []
        self.answered: list[Verdict] = []
        self.all_answered = trio.Event()
        self._socket, self._peer = socket.socketpair()

    def fileno(self) -> int:
        return self._socket.fileno()

    def take(self) -> list[Packet]:
        taken, self.waiting = self.waiting, []
        return taken

    def answer(self, verdicts: Sequence[Verdict], at: int = 0) -> None:
        self.answered += verdicts
        self.all_answered.set()

    def close(self) -> None:
        self._socket.close()
        self._peer.close()


def test_what_another_task_took_goes_on_in_time() -> None:
    async def main() -> None:
        queue = FakeQueue()
        core = Core([load("delay:time=100ms")])
        engine = Engine(core, cast(Queue, queue), cast(Injector, None), recorder=None, one_by_one=False)
        with trio.fail_after(5):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(engine.run)
                await trio.testing.wait_all_tasks_blocked()
                arrived = time.monotonic_ns()
                queue.waiting.append(udp(1, arrived))
                assert not engine.work()
                assert core.held == 1
                await queue.all_answered.wait()
                nursery.cancel_scope.cancel()
        queue.close()
        (verdict,) = queue.answered
        assert (verdict.packet.id, verdict.fate, verdict.planned) == (1, "sent", arrived + 100 * ms)

    trio.run(main)
