"""The engine and a task beside it, on a real queue."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing

import pytest
import trio
import trio.testing

from shaper.core.core import Core
from shaper.live.engine import Engine
from shaper.live.inject import Injector
from shaper.live.nfqueue.queue import HEADERS, WHOLE, Queue
from shaper.live.rules.rules import Match, Rules
from shaper.spec.load import load
from tests.kernel.shaping import Receiver


@pytest.fixture
def engine(receiver: Receiver) -> Iterator[Engine]:
    with ExitStack() as made:
        queue = made.enter_context(closing(Queue(7, copy_range=HEADERS, length=10, buffer=1 << 16)))
        injector = made.enter_context(closing(Injector(Match())))
        rules = Rules(Match(protocol="udp"), 7)
        rules.install()
        made.callback(rules.remove)
        yield Engine(Core([load("delay:time=100ms")]), queue, injector, recorder=None, one_by_one=False)


def test_what_another_task_took_goes_on_in_time(engine: Engine, receiver: Receiver) -> None:
    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(engine.run)
            await trio.testing.wait_all_tasks_blocked()
            receiver.send_numbers(1)
            # Now it is in the queue, and taken here before `run`, which waits for it, gets its turn.
            assert not engine.work()
            assert await trio.to_thread.run_sync(receiver.numbers, 1) == [0]
            nursery.cancel_scope.cancel()

    trio.run(main)


def test_all_copies_that_are_held_at_the_end_go_on(receiver: Receiver) -> None:
    with ExitStack() as made:
        queue = made.enter_context(closing(Queue(7, copy_range=WHOLE, length=6000, buffer=1 << 24)))
        injector = made.enter_context(closing(Injector(Match())))
        rules = Rules(Match(protocol="udp"), 7)
        rules.install()
        made.callback(rules.remove)
        core = Core([load("duplicate:100%"), load("delay:9s")])
        engine = Engine(core, queue, injector, recorder=None, one_by_one=False)
        receiver.send_numbers(2000)
        while core.counts.taken < 2000:
            engine.work()
        verdicts = core.close()
        for at in range(0, len(verdicts), 500):
            engine.answer(verdicts[at : at + 500])
        assert sorted(receiver.rest()) == [number for number in range(2000) for _ in range(2)]
