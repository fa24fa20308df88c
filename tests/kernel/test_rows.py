"""Packets that come in a row, on a real queue: none is lost, and all go on in order."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, suppress

import pytest

from shaper.core.core import Core
from shaper.core.train import Part
from shaper.live.engine import Engine
from shaper.live.inject import Injector
from shaper.live.nfqueue.queue import BATCH, HEADERS, Queue
from shaper.live.nfqueue.row import Row
from shaper.live.rules.rules import Match, Rules
from shaper.spec.load import load
from shaper.units import ms, s
from tests.kernel.shaping import Receiver

COUNT = 3 * BATCH // 2


@pytest.fixture
def queue(receiver: Receiver) -> Iterator[Queue]:
    with ExitStack() as made:
        queue = made.enter_context(closing(Queue(7, copy_range=HEADERS, length=1000, buffer=1 << 22)))
        rules = Rules(Match(protocol="udp"), 7)
        rules.install()
        made.callback(rules.remove)
        yield queue


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many packets were in each row that went on."""
    accepted: list[int] = []
    accept = Queue.accept

    def noted(queue: Queue, row: Row) -> None:
        accepted.append(row.count)
        accept(queue, row)

    monkeypatch.setattr(Queue, "accept", noted)
    return accepted


def test_a_row_is_what_the_packets_say_one_by_one(queue: Queue, receiver: Receiver) -> None:
    receiver.send_numbers(20)
    assert queue.receive() == 20
    row = queue.row()
    assert row is not None
    arrivals = [queue.arrival(row, nth) for nth in range(20)]
    packets = queue.packets()
    assert arrivals == sorted(arrivals)
    # The distance of both clocks is measured anew each time.
    assert len({packet.arrived - arrival for packet, arrival in zip(packets, arrivals, strict=True)}) == 1
    assert [packet.raw for packet in packets] == row.raws()
    assert row.last_id == packets[-1].id
    came = queue.came(row)
    assert (list(came.ids), list(came.raws)) == ([packet.id for packet in packets], row.raws())
    assert not queue.is_answered


def test_the_engine_lets_rows_go_on(queue: Queue, receiver: Receiver, rows: list[int]) -> None:
    core = Core([load("pass_through")])
    with closing(Injector(Match())) as injector:
        engine = Engine(core, queue, injector, recorder=None, one_by_one=False)
        receiver.send_numbers(1)
        engine.work()
        receiver.send_numbers(COUNT)
        assert engine.work()
        assert not engine.work()
        assert rows == [BATCH, COUNT - BATCH]
        assert (core.counts.taken, core.counts.sent, core.counts.held) == (COUNT + 1, COUNT + 1, 0)
        assert receiver.numbers(COUNT + 1) == [0, *range(COUNT)]
        late = engine.holds.late
        assert 0 <= late.p50 <= late.max < 10 * s
        assert engine.holds.to_json()["step"] == 1
        assert len(engine.holds.to_json()["samples"]) == COUNT + 1
        engine.close()


@pytest.fixture
def trains(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many packets were let go together, each time."""
    gone: list[int] = []
    let_go = Queue.let_go

    def noted(queue: Queue, parts: Sequence[Part], at: int) -> None:
        gone.append(sum(end - begin for _, begin, end in parts))
        let_go(queue, parts, at)

    monkeypatch.setattr(Queue, "let_go", noted)
    return gone


def test_a_row_is_held_as_a_train(queue: Queue, receiver: Receiver, trains: list[int]) -> None:
    core = Core([load("delay:50ms")])
    with closing(Injector(Match())) as injector:
        engine = Engine(core, queue, injector, recorder=None, one_by_one=False)
        receiver.send_numbers(1)
        engine.work()
        receiver.send_numbers(COUNT)
        while core.counts.taken < COUNT + 1:
            engine.work()
        while core.counts.held:
            engine.work()
        assert sum(trains) == COUNT
        assert receiver.numbers(COUNT + 1) == [0, *range(COUNT)]
        samples = engine.holds.to_json()["samples"]
        assert len(samples) == COUNT + 1
        assert all(wanted == 50 * ms <= actual < 10 * s for wanted, actual in samples)
        engine.close()


def test_a_train_is_broken_up_by_a_change(queue: Queue, receiver: Receiver, trains: list[int]) -> None:
    core = Core([load("delay:9s")])
    with closing(Injector(Match())) as injector:
        engine = Engine(core, queue, injector, recorder=None, one_by_one=False)
        receiver.send_numbers(1)
        engine.work()
        for change in (core.release, lambda now: core.replace([load("delay:8s")], now)):
            receiver.send_numbers(50)
            engine.work()
            engine.at_once(change)
        # Held are those that came before the last change; those that come now wait for them.
        assert core.counts.held == 50
        receiver.send_numbers(50)
        engine.work()
        engine.at_once(lambda now: core.change("delay", {"time": 1 * ms}, now))
        assert (core.counts.held, trains) == (100, [])
        engine.answer(core.close())
        assert receiver.numbers(151) == [0, *range(50), *range(50), *range(50)]
        engine.close()


def test_packets_of_a_change_from_nothing_to_a_delay_are_held(
    queue: Queue, receiver: Receiver, rows: list[int]
) -> None:
    core = Core([load("pass_through")])
    with closing(Injector(Match())) as injector:
        engine = Engine(core, queue, injector, recorder=None, one_by_one=False)
        receiver.send_numbers(1)
        engine.work()
        receiver.send_numbers(50)
        engine.work()
        assert rows == [50]
        engine.at_once(lambda now: core.replace([load("delay:9s")], now))
        receiver.send_numbers(50)
        engine.work()
        assert (core.counts.held, rows) == (50, [50])
        engine.answer(core.close())
        assert receiver.numbers(101) == [0, *range(50), *range(50)]
        engine.close()


def test_segments_go_on_in_rows_too(network: None, rows: list[int]) -> None:
    with ExitStack() as made:
        queue = made.enter_context(closing(Queue(7, copy_range=HEADERS, length=1000, buffer=1 << 22)))
        rules = Rules(Match(protocol="tcp"), 7)
        rules.install()
        made.callback(rules.remove)
        injector = made.enter_context(closing(Injector(Match())))
        core = Core([load("pass_through")])
        engine = Engine(core, queue, injector, recorder=None, one_by_one=False)
        listener = made.enter_context(socket.create_server(("127.0.0.1", 0)))
        client = made.enter_context(socket.socket())
        client.setblocking(False)
        client.connect_ex(listener.getsockname())
        while engine.work() or core.counts.taken < 3:
            pass
        accepted, _ = listener.accept()
        made.enter_context(accepted)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sent = b"".join(bytes((number,)) * 100 for number in range(200))
        for start in range(0, len(sent), 100):
            client.send(sent[start : start + 100])
        received = b""
        accepted.setblocking(False)
        while len(received) < len(sent):
            engine.work()
            with suppress(BlockingIOError):
                received += accepted.recv(1 << 16)
        assert received == sent
        assert rows
        engine.close()
