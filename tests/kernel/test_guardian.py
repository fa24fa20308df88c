"""The guardian: an engine that dies or hangs loses no packet that it holds."""

import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from shaper.live.guardian.guardian import Guardian
from shaper.live.nfqueue.counters import QueueCounters
from shaper.live.nfqueue.queue import HEADERS, Queue
from shaper.live.rules.rules import Match, Rules
from shaper.live.rules.ruleset import RulesState
from shaper.units import s
from tests.kernel.shaping import widen

QUEUE = 7
PORT = 9000
PACKETS = 400  # as many as a receive buffer holds that only root can widen

# An engine that holds everything; WATCHDOG and HANG are replaced.
ENGINE = """
    import select, sys, time
    from shaper.live.guardian.guardian import Guardian
    from shaper.live.nfqueue.queue import HEADERS, Queue
    from shaper.live.rules.rules import Match, Rules
    from shaper.units import ms

    queue = Queue({queue}, copy_range=HEADERS, length=65535, buffer=1 << 24)
    rules = Rules(Match(protocol="udp", ports=({port},)), {queue})
    guardian = Guardian(queue.fileno(), rules.owner, rules.text(), watchdog=1000 * ms)
    rules.install()
    guardian.beat()
    print(guardian.pid, flush=True)
    while True:
        if select.select([queue, sys.stdin], [], [], 0.05)[0] == [queue]:
            queue.take()
        elif select.select([sys.stdin], [], [], 0)[0]:
            word = sys.stdin.readline()
            if word == "hang\\n":
                while True:
                    pass
            rules.remove()
            guardian.dismiss()
            queue.close()
            break
        guardian.beat()
"""


class Engine:
    """The engine's process, the receiver of its packets, and what a test can do to them."""

    def __init__(self, receiver: socket.socket) -> None:
        script = textwrap.dedent(ENGINE).format(queue=QUEUE, port=PORT)
        self.process = subprocess.Popen(
            [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        self.guardian = int(self.process.stdout.readline())
        self._receiver = receiver
        self._sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    def say(self, word: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{word}\n")
        self.process.stdin.flush()

    def hold(self, count: int) -> None:
        """Send packets, and wait until the queue holds them all."""
        for number in range(count):
            self._sender.sendto(number.to_bytes(4), ("127.0.0.1", PORT))
        counters = QueueCounters(QUEUE)
        deadline = time.monotonic() + 20
        while (row := counters.read()) is None or row.held < count:
            assert time.monotonic() < deadline, row
            time.sleep(0.01)  # the kernel has no event for this
        counters.close()

    def received(self, count: int) -> list[int]:
        self._receiver.settimeout(20)
        return [int.from_bytes(self._receiver.recv(100)) for _ in range(count)]

    def passes(self) -> bool:
        """Whether a new packet arrives, at once."""
        self._sender.sendto(b"new.", ("127.0.0.1", PORT))
        return self._receiver.recv(100) == b"new."

    def guardian_ends(self) -> bool:
        """Whether the guardian's process is gone within some seconds."""
        return has_ended(self.guardian)

    def next_guardian(self) -> int:
        """The guardian that replaced the first one."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        deadline = time.monotonic() + 20
        while not (others := {*map(int, children.read_text().split())} - {self.guardian}):
            assert time.monotonic() < deadline
            time.sleep(0.01)  # it is not our child
        return others.pop()


def has_ended(pid: int) -> bool:
    for _ in range(1000):
        if not Path(f"/proc/{pid}").exists() or " Z " in Path(f"/proc/{pid}/stat").read_text():
            return True
        time.sleep(0.01)
    return False


@pytest.fixture
def engine(network: None) -> Iterator[Engine]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        widen(receiver)
        receiver.bind(("127.0.0.1", PORT))
        engine = Engine(receiver)
        try:
            yield engine
        finally:
            engine.process.kill()
            engine.process.wait()
            for stream in (engine.process.stdin, engine.process.stdout):
                assert stream is not None
                stream.close()


def test_a_killed_engine_loses_nothing(engine: Engine, rule_set: Callable[[], list[str]]) -> None:
    engine.hold(PACKETS)
    engine.process.kill()
    assert engine.received(PACKETS) == list(range(PACKETS))
    assert engine.guardian_ends()
    assert engine.passes()
    assert not [line for line in rule_set() if "shaper" in line]


@pytest.mark.parametrize("how", ["endless loop", "stopped"])
def test_a_hanging_engine_loses_nothing(engine: Engine, rule_set: Callable[[], list[str]], how: str) -> None:
    engine.hold(PACKETS)
    if how == "stopped":
        os.kill(engine.process.pid, signal.SIGSTOP)
    else:
        engine.say("hang")
    assert engine.received(PACKETS) == list(range(PACKETS))
    assert engine.guardian_ends()
    assert engine.passes()
    assert not [line for line in rule_set() if "shaper" in line]


def test_when_an_engine_ends_in_order_so_does_its_guardian(engine: Engine) -> None:
    engine.say("end")
    assert engine.process.wait(timeout=20) == 0
    assert engine.guardian_ends()
    assert engine.passes()


def test_a_stopped_engine_finds_out_when_it_goes_on(engine: Engine) -> None:
    engine.hold(10)
    os.kill(engine.process.pid, signal.SIGSTOP)
    assert engine.received(10) == list(range(10))
    assert engine.guardian_ends()
    os.kill(engine.process.pid, signal.SIGCONT)
    assert engine.process.wait(timeout=20) != 0


def test_an_engine_that_was_halted_together_with_its_guardian_goes_on(engine: Engine) -> None:
    """As when the machine, or a container, is suspended."""
    engine.hold(10)
    for pid in (engine.guardian, engine.process.pid):
        os.kill(pid, signal.SIGSTOP)
    time.sleep(2.5)  # more than twice the watchdog
    for pid in (engine.guardian, engine.process.pid):
        os.kill(pid, signal.SIGCONT)
    engine.hold(20)
    engine.say("end")
    assert engine.process.wait(timeout=20) == 0
    assert engine.received(30) == [*range(10), *range(20)]


def test_the_terminal_does_not_reach_the_guardian(engine: Engine) -> None:
    assert os.getsid(engine.guardian) == engine.guardian
    os.kill(engine.guardian, signal.SIGINT)
    os.kill(engine.guardian, signal.SIGTERM)
    engine.hold(10)
    engine.process.kill()
    assert engine.received(10) == list(range(10))


def test_a_stopped_guardian_is_replaced(engine: Engine, rule_set: Callable[[], list[str]]) -> None:
    engine.hold(PACKETS)
    first = engine.guardian
    os.kill(first, signal.SIGSTOP)
    engine.guardian = engine.next_guardian()
    assert has_ended(first)
    engine.process.kill()
    assert engine.received(PACKETS) == list(range(PACKETS))
    assert engine.guardian_ends()
    assert engine.passes()
    assert not [line for line in rule_set() if "shaper" in line]


def test_a_stopped_one_answers_no_request(network: None, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(Queue(QUEUE, copy_range=HEADERS, length=10, buffer=1 << 16)) as queue:
        rules = Rules(Match(protocol="udp"), QUEUE)
        guardian = Guardian(queue.fileno(), rules.owner, rules.text(), watchdog=20 * s)
        rules.install()
        first = guardian.pid
        os.kill(first, signal.SIGSTOP)
        # As if the engine had become an ordinary user and the guardian were root's.
        monkeypatch.setattr(subprocess.Popen, "kill", refuse)
        assert guardian.look() == RulesState(packets=0, whole=True)
        assert guardian.pid != first
        os.kill(first, signal.SIGCONT)
        assert has_ended(first)
        assert guardian.look().whole
        guardian.remove()
        os.kill(guardian.pid, signal.SIGSTOP)
        begun = time.monotonic()
        guardian.dismiss()
        assert time.monotonic() - begun < 20
        os.kill(guardian.pid, signal.SIGCONT)
        assert has_ended(guardian.pid)


def refuse(process: object) -> None:
    raise PermissionError
