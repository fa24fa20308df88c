"""The engine: one task that takes packets, lets the core decide, and gives each verdict when it is due.

It is woken by packets in the queue and by the next deadline (see waiting.py).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final

import trio

from shaper.core.core import Core
from shaper.linux.timerfd import wait_until
from shaper.live.choices import Timing
from shaper.live.drain_watcher import DrainWatcher
from shaper.live.exchange import Exchange
from shaper.live.inject import Injector
from shaper.live.nfqueue.output import OutputQueue
from shaper.live.nfqueue.queue import BATCH, Queue
from shaper.live.pauses import few_pauses
from shaper.live.pending import Pending
from shaper.live.record import PacketRecorder
from shaper.live.waiting import Waiting, exact_timers
from shaper.units import ms, s, us

LONGEST_TURN: Final = 2 * ms
"""The longest time (ns) before other tasks of this process get a turn."""
LONGEST_TURN_ALONE: Final = 25 * ms
"""The same, if all that they wait for, but for a time or a thread, wakes the engine."""
LONGEST_SLEEP: Final = 330 * ms
"""Then it may sleep for this long (ns), if no thread is at work, and none of them has to do something earlier."""
WATCH_INTERVAL: Final = 50 * ms
"""Between two calls of `watch`, in ns. A task of its own would cost a turn of trio each time, 0.1 ms."""
FEW: Final = 32
"""When fewer packets than this were taken since, it is called less often, see `Engine.run`."""
SMALL_BATCH: Final = 64
"""When fewer packets than this go on at once, it is cheaper to let the next ones join them."""
ARRIVAL_TOLERANCE: Final = 100 * us
"""A packet that comes while others are taken counts as arriving later than it did by at most this time (ns).

That holds even if the engine is halted meanwhile.
"""
LONE_PACKETS: Final = 250
"""After a packet was gathered alone, this many are not gathered."""
IDLE_GAP: Final = 100 * us
"""After half a turn, other tasks get theirs already if the next deadline is further off than this (ns)."""
DECIDE_AHEAD: Final = 28 * us
"""How long (ns) before a deadline its verdicts are decided; packets that arrive meanwhile count as arriving at it."""


class Engine(Exchange):
    """The exchange with the kernel, and when it is due.

    Args:
        core, queue, injector, output, recorder, drain_watcher, one_by_one: see `Exchange`.
        timing: how much CPU time punctuality is worth.
        others: all descriptors that other tasks of this process wait for; None if nobody knows them.
    """

    def __init__(
        self,
        core: Core,
        queue: Queue,
        injector: Injector,
        *,
        output: OutputQueue | None = None,
        recorder: PacketRecorder | None,
        drain_watcher: DrainWatcher | None = None,
        one_by_one: bool,
        timing: Timing = "balanced",
        others: Sequence[int] | None = None,
    ) -> None:
        super().__init__(
            core, queue, injector,
            output=output, recorder=recorder, drain_watcher=drain_watcher, one_by_one=one_by_one,
        )  # fmt: skip
        sockets = [each.fileno() for each in (queue, output, drain_watcher) if each is not None]
        self._waiting = Waiting(sockets, timing, others or ())
        self._knows_others = others is not None
        self._pending = Pending()
        self._last_sent = 0  # when packets went on last, in ns
        self._is_soon = False  # the packets taken last came soon after that
        self._lone = 0  # how many packets more are taken for lone ones
        self._watch: Callable[[], bool] = lambda: False
        self._watches_at = 0  # when it does next, in ns
        self._watched = 0  # how many packets were taken until it did
        self._rest = LONGEST_SLEEP
        self._rests_until = 0  # when it does next (ns) if few packets come

    async def run(self, watch: Callable[[], bool] = lambda: False, rest: int = LONGEST_SLEEP) -> None:
        """Shape until cancelled.

        Args:
            watch: called again and again; returns whether another task has something to do.
            rest: how long (ns) after a call of `watch` the next one is due, if no more than a FEW packets come.

        Raises:
            OSError: the queue's socket fails.
        """
        self._watch, self._rest = watch, rest
        with few_pauses(), exact_timers(), self._pending.watching():
            while True:
                is_lively = self._turn()
                # `work` sets it too, so that this task wakes in time for what others have taken.
                self._waiting.set(self._core.next_deadline())
                if is_lively or self._can_wait_for_others():
                    await trio.lowlevel.checkpoint()
                    continue
                with trio.move_on_after(self._until_rest_is_over() / s):
                    await trio.lowlevel.wait_readable(self._waiting.fileno())

    def work(self) -> bool:
        """Take packets, a batch at most, and give the verdicts that are due; returns whether more packets may wait."""
        taken, _ = self._pass()
        self._waiting.set(self._core.next_deadline())
        return taken == BATCH

    def _pass(self) -> tuple[int, int]:
        """Take a batch, and give the verdicts that are due; returns how many of each."""
        seen = time.monotonic_ns()
        taken, answered = self._take()
        now = self._now(seen, taken)
        answered += self._let_go(now)
        verdicts = self._core.due(now)
        self.answer(verdicts)
        return taken, answered + len(verdicts)

    def _take(self) -> tuple[int, int]:
        """As `_receive`; notes whether the packets came soon after the last ones had gone."""
        taken, answered = self._receive()
        if taken:
            self._is_soon = self._first - self._last_sent < self._waiting.look
        return taken, answered

    def _now(self, seen: int, taken: int) -> int:
        """The core's time, after so many packets were taken at a time (ns).

        While more packets wait, or may have come since, it must not pass their arrival.
        """
        return self._last if taken == BATCH else min(time.monotonic_ns(), seen + ARRIVAL_TOLERANCE)

    def _turn(self) -> bool:
        """Work until other tasks should have a turn; returns whether any packets came."""
        core, clock, waiting = self._core, time.monotonic_ns, self._waiting
        longest = LONGEST_TURN_ALONE if self._knows_others else LONGEST_TURN
        begin = clock()  # or when it was seen last that others have nothing to do
        end = 0  # when others have; found out once there is time
        look_until = 0
        is_lively = has_gathered = False
        met = -1  # how many packets were taken just now to meet a deadline, so that hardly any wait; else -1
        while True:
            taken, answered = self._pass() if met < 0 else (met, 0)
            met = -1
            is_lively |= taken > 0
            now = clock()
            if now >= self._watches_at and self._has_to_watch(now):
                return True
            deadline = core.next_deadline()
            if deadline is not None and now >= waiting.tired_at and taken < SMALL_BATCH:
                waiting.nap()
                now = clock()
            is_due = taken == BATCH or (deadline is not None and deadline - now < IDLE_GAP)
            if now - begin >= (longest if is_due else longest // 2) or (end and now >= end):
                return True
            if taken == BATCH or (not taken and now < look_until):
                continue
            if has_gathered and taken <= 1:
                self._lone = LONE_PACKETS
            has_gathered = False
            is_soon = answered > 0 and self._is_soon
            if self._is_busy(answered, now) and not self._lone:
                waiting.gather(deadline, now)
                has_gathered = True
            elif is_soon:
                self._lone = max(self._lone - 1, 0)
                look_until = now + waiting.look
                if deadline is not None:
                    look_until = min(look_until, deadline - waiting.lead)
            elif deadline is None or deadline - now > waiting.lead:
                end = end or self._end_of_turn(begin)
                woken = waiting.sleep(deadline, end, all_held=not answered)
                if woken == "others":
                    return True
                if woken is None:
                    if not self._can_wait_for_others() or self._end_of_turn(begin) <= clock():
                        return is_lively
                    end = 0
                if self._knows_others:
                    begin = clock()
                if woken == "deadline" and deadline is not None:
                    waiting.adapt(deadline - DECIDE_AHEAD - clock())
                    met = self._meet(deadline)
            elif waiting.frequent and deadline - self._last_sent < waiting.frequent:
                waiting.gather(deadline, now)
            elif deadline > now:
                waiting.stay_awake()
                met = self._meet(deadline)

    def _can_wait_for_others(self) -> bool:
        """Whether a sleep of its own ends as soon as others have something to do: no thread is at work for them."""
        return self._knows_others and not trio.to_thread.current_default_thread_limiter().borrowed_tokens

    def _end_of_turn(self, begin: int) -> int:
        """When (ns) others need their turn, even if packets come seldom; its own turn has begun at `begin`."""
        if not self._knows_others:
            return begin + LONGEST_TURN
        if not self._can_wait_for_others():
            return begin + LONGEST_TURN_ALONE
        if len(self._pending):
            return begin
        pause = trio.lowlevel.current_statistics().seconds_to_next_deadline
        rest = self._until_rest_is_over()
        return time.monotonic_ns() + (rest if pause * s > rest else int(pause * s))

    def _until_rest_is_over(self) -> int:
        """How long (ns) it is until `watch` is due: regular times, so that what other tasks do often joins in."""
        return self._rest - time.monotonic_ns() % self._rest

    def _is_busy(self, answers: int, now: int) -> bool:
        """Whether packets go on in small batches, in quick succession: gathered, they cost half as much."""
        if not answers:
            return False
        before, self._last_sent = self._last_sent, now
        return answers < SMALL_BATCH and now - before < answers * self._waiting.frequent

    def _meet(self, deadline: int) -> int:
        """Decide just before the deadline, so that at the deadline only the verdicts have to be written.

        Returns:
            How many packets were taken for that.
        """
        wait_until(deadline - DECIDE_AHEAD)
        taken, _ = self._take()
        self._let_go(deadline, deadline)
        self.answer(self._core.due(deadline), deadline)
        self._last_sent = deadline
        return taken

    def _has_to_watch(self, now: int) -> bool:
        """Watch, if it is time; returns whether another task has something to do."""
        self._watches_at = now + min(WATCH_INTERVAL, self._rest // 2)
        taken = self._core.counts.taken
        if taken - self._watched < FEW and now < self._rests_until:
            return False
        self._watched = taken
        # A little less, so that the next regular time is never too early.
        self._rests_until = now + self._rest * 3 // 4
        return self._watch()

    def at_once(self, change: Callable[[int], None]) -> None:
        """Change the core between two packets; `change` is given the time (ns).

        Raises:
            ChangeError: the core refuses; nothing has changed.
        """
        seen = time.monotonic_ns()
        taken, _ = self._take()
        now = self._now(seen, taken)
        try:
            change(now)
        finally:
            self.answer(self._core.due(now))
            self.take_changes()
            self.work()

    def watch_drained(self) -> None:
        """From now on watch the sockets that packets go to.

        Raises:
            ShaperError: this kernel gives no information about sockets.
        """
        if self._drain_watcher is None:
            self._drain_watcher = DrainWatcher()
            self._waiting.watch(self._drain_watcher.fileno())

    def close(self) -> None:
        """Give up what it waits with; the queue stays open."""
        self._waiting.close()
        if self._drain_watcher is not None:
            self._drain_watcher.close()
