"""The engine: one task that takes packets, lets the core decide, and answers when the time has come.

Three things wake it: packets in the queue, the next deadline, the end (see waiting.py).
"""

from __future__ import annotations

import gc
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import trio

from shaper.core.core import Core
from shaper.core.verdict import Verdict
from shaper.linux.timerfd import wait_until
from shaper.live.choices import Timing
from shaper.live.drain_watcher import DrainWatcher
from shaper.live.inject import Injector
from shaper.live.lateness import Holds
from shaper.live.nfqueue.queue import BATCH, Queue
from shaper.live.record import PacketRecorder
from shaper.live.waiting import Waiting, exact_timers
from shaper.policy.signal import Signal, SignalRecord
from shaper.units import ms, us
from shaper.wire.packet import Packet

TURN: Final = 2 * ms
"""The longest that other tasks of this process have to wait."""
FEW: Final = 64
"""Packets that go on so few at once cost less if the next ones join them."""
BLUR: Final = 100 * us
"""A packet that comes while others are taken counts as arriving so much later at most, even if the engine is halted."""
PAUSE: Final = 100 * us
"""From half a turn on, they get theirs when there is so much time to the next deadline."""
AHEAD: Final = 28 * us
"""How long before a deadline its verdicts are decided on; packets that arrive meanwhile count as arriving at it."""


@contextmanager
def few_pauses() -> Iterator[None]:
    """Keep Python itself from making packets late.

    With 60 000 packets held, a full collection took 100 to 200 ms; without what was there at
    the start, 30 ms, and packets leave nothing to collect. Other threads, such as the one
    that waits for iptables, may keep the interpreter for 5 ms by default.
    """
    thresholds, interval = gc.get_threshold(), sys.getswitchinterval()
    gc.freeze()
    gc.set_threshold(10_000, 10, 1000)
    sys.setswitchinterval(0.0005)
    try:
        yield
    finally:
        sys.setswitchinterval(interval)
        gc.set_threshold(*thresholds)
        gc.unfreeze()


class Engine:
    """Joins the core with the kernel.

    Args:
        core: decides.
        queue: where the packets come from.
        injector: sends packets that policies make.
        recorder: is told of each packet, if given.
        drain_watcher: watches the sockets that packets go to, if some policy asks for that.
        one_by_one: write each verdict by itself, so that what it causes in the kernel can be told apart.
        timing: how much CPU time punctuality is worth.

    Attributes:
        holds: how long packets were to be held, and were.
        injector: see above.
        last_id: the kernel's number for the packet taken last; it numbers those, too, that find no room.
    """

    def __init__(
        self,
        core: Core,
        queue: Queue,
        injector: Injector,
        *,
        recorder: PacketRecorder | None,
        drain_watcher: DrainWatcher | None = None,
        one_by_one: bool,
        timing: Timing = "balanced",
    ) -> None:
        self.holds = Holds()
        self._core = core
        self._queue = queue
        self.injector = injector
        self.last_id = 0
        self._injected = 0
        self._recorder = recorder
        self._drain_watcher = drain_watcher
        self._one_by_one = one_by_one
        sockets = [queue.fileno()] if drain_watcher is None else [queue.fileno(), drain_watcher.fileno()]
        self._waiting = Waiting(sockets, timing)
        self._answered = 0  # when some packet went on last

    async def run(self) -> None:
        """Shape until cancelled."""
        with few_pauses(), exact_timers():
            while True:
                if self.work():
                    await trio.lowlevel.checkpoint()
                else:
                    await trio.lowlevel.wait_readable(self._waiting.fileno())

    def work(self) -> bool:
        """Work for one turn; returns whether there is more to do at once. If not, nothing waits in the queue."""
        is_more = self._turn()
        # Others than `run` may call this, too, and what they took is to wake it in time.
        self._waiting.set(self._core.next_deadline())
        return is_more

    def _turn(self) -> bool:
        core, clock, waiting = self._core, time.monotonic_ns, self._waiting
        begin = clock()
        while True:
            seen = clock()
            packets = self.receive()
            # While more packets wait, or may have come since, time goes on no further than they allow.
            is_full = len(packets) == BATCH
            verdicts = core.due(packets[-1].arrived if is_full else min(clock(), seen + BLUR))
            self.answer(verdicts)
            now = clock()
            deadline = core.next_deadline()
            is_due = is_full or (deadline is not None and deadline - now < PAUSE)
            if now - begin >= (TURN if is_due else TURN // 2):
                return True
            if is_full:
                continue
            if self.is_busy(len(verdicts), now):
                waiting.gather(deadline, now)
            elif deadline is None or deadline - now > waiting.lead:
                woken = waiting.sleep(deadline, begin + TURN, all_held=not verdicts)
                if woken is None:
                    return False
                if woken == "deadline" and deadline is not None:
                    waiting.woken(deadline - AHEAD - clock())
                    self.meet(deadline)
            elif waiting.frequent and deadline - self._answered < waiting.frequent:
                waiting.gather(deadline, now)
            elif deadline > now:
                self.meet(deadline)

    def is_busy(self, answers: int, now: int) -> bool:
        """Whether packets go on a few at a time, in quick succession: together they cost half as much."""
        if not answers:
            return False
        before, self._answered = self._answered, now
        return answers < FEW and now - before < answers * self._waiting.frequent

    def meet(self, deadline: int) -> None:
        """Decide just before the deadline, so that when it comes only the verdicts are left to be written."""
        wait_until(deadline - AHEAD)
        self.receive()
        self.answer(self._core.due(deadline), deadline)
        self._answered = deadline

    def receive(self) -> list[Packet]:
        """Take what waits in the queue, a batch at most, and give it to the core."""
        packets = self._queue.take()
        if packets:
            self.last_id = packets[-1].id
        core = self._core
        if self._recorder is not None:
            for packet in packets:
                self._recorder.arrived(packet)
        for packet in packets:
            core.receive(packet, packet.arrived)
        if self._drain_watcher is not None:
            self._see_who_reads(self._drain_watcher)
        return packets

    def _see_who_reads(self, drain_watcher: DrainWatcher) -> None:
        now = time.monotonic_ns()
        for flow in drain_watcher.look(now):
            for policy in self._core.listeners("drained"):
                given = SignalRecord(policy, Signal("drained", flow), now, self._core.counts.taken)
                self._core.signal(given.policy, given.signal, given.at)
                if self._recorder is not None:
                    self._recorder.signalled(given)

    def answer(self, verdicts: Sequence[Verdict], at: int = 0) -> None:
        """Carry the verdicts out, in their order, not before a time (ns)."""
        if not verdicts:
            return
        injected, self._injected = self._injected, self._core.counts.injected
        if self._one_by_one or injected != self._injected:
            wait_until(at)
            for verdict in verdicts:
                self._write((verdict,))
        else:
            self._write(verdicts, at)

    def _write(self, verdicts: Sequence[Verdict], at: int = 0) -> None:
        begin = max(time.monotonic_ns(), at)
        if verdicts[0].fate == "injected":
            self.injector.send(verdicts[0].packet)
        else:
            self._queue.answer(verdicts, at)
        end = time.monotonic_ns()
        self.holds.add(verdicts, end)
        if self._drain_watcher is not None:
            self._drain_watcher.delivered(verdicts, end)
        if self._recorder is not None:
            tid = threading.get_native_id()
            for verdict in verdicts:
                self._recorder.answered(verdict, begin, end, tid)

    def close(self) -> None:
        self._waiting.close()
