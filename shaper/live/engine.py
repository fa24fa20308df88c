"""The engine: one task that takes packets, lets the core decide, and gives each verdict when it is due.

It is woken by packets in the queue and by the next deadline (see waiting.py).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence, Set
from typing import Final

import trio

from shaper.core.change import Change
from shaper.core.core import Core
from shaper.core.verdict import Verdict
from shaper.linux.timerfd import wait_until
from shaper.live.choices import Timing
from shaper.live.drain_watcher import DrainWatcher
from shaper.live.inject import Injector
from shaper.live.lateness import Holds
from shaper.live.meter import Meter
from shaper.live.nfqueue.output import OutputQueue
from shaper.live.nfqueue.queue import BATCH, Queue
from shaper.live.nfqueue.row import Row
from shaper.live.pauses import few_pauses
from shaper.live.record import PacketRecorder
from shaper.live.waiting import Waiting, exact_timers
from shaper.policy.signal import Signal, SignalRecord
from shaper.units import ms, s, us
from shaper.wire.header import flow_key
from shaper.wire.packet import Packet

LONGEST_TURN: Final = 2 * ms
"""The longest time (ns) before other tasks of this process get a turn."""
LONGEST_TURN_ALONE: Final = 25 * ms
"""The same, if all that they wait for, but for a time or a thread, wakes the engine."""
LONGEST_SLEEP: Final = 250 * ms
"""Then it may sleep for this long (ns), if no thread is at work, and none of them waits for an earlier time."""
WATCH_INTERVAL: Final = 50 * ms
"""Between two calls of `watch`, in ns. A task of its own would cost a turn of trio each time, 0.1 ms."""
FEW: Final = 32
"""When fewer packets than this were taken since, it isn't called."""
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


class Engine:
    """Connects the core with the kernel.

    Args:
        core: decides what happens to each packet.
        queue: where the packets come from.
        injector: sends packets that policies make.
        output: what packets that go out pass before they come to the queue, if there are any.
        recorder: records each packet, if given.
        drain_watcher: watches the sockets that packets go to, if some policy listens for `drained`.
        one_by_one: write each verdict in a system call of its own, so that what it causes in the kernel can be told
            apart.
        timing: how much CPU time punctuality is worth.
        others: all descriptors that other tasks of this process wait for; None if nobody knows them.

    Attributes:
        holds: planned and actual holds so far.
        injector: see above.
        meter: measures more, once somebody looks.
        changed: how often the core was changed, as of the last `take_changes`.
        replaced, specs: how often its pipeline was replaced, and the SPECs of the newest one; empty if it has none.
        last_id: the kernel's number of the packet taken last; packets that found no room are numbered too.
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
        self.holds = Holds()
        self._core = core
        self._queue = queue
        self.injector = injector
        self.last_id = 0
        self._arrived = 0  # when that one did, in ns
        self._injected = 0  # verdicts on packets that policies made, carried out so far
        # Packets that the core holds and the kernel no longer does, since a copy went in their place; by id.
        self._replaced: set[int] = set()
        self._recorder = recorder
        self.meter: Meter | None = None
        self.changed = self.replaced = 0
        self.specs: tuple[str, ...] = ()
        self._replayed = 0  # how far (ns) a replay of what is recorded has come
        self._drain_watcher = drain_watcher
        self._one_by_one = one_by_one
        self._output = output
        sockets = [each.fileno() for each in (queue, output, drain_watcher) if each is not None]
        self._waiting = Waiting(sockets, timing, others or ())
        self._knows_others = others is not None
        self._last_sent = 0  # when packets went on last, in ns
        self._is_soon = False  # the packets taken last came soon after that
        self._lone = 0  # how many packets more are taken for lone ones
        self._watch: Callable[[], bool] = lambda: False
        self._watches_at = 0  # when it does next, in ns
        self._watched = 0  # how many packets were taken until it did

    async def run(self, watch: Callable[[], bool] = lambda: False) -> None:
        """Shape until cancelled.

        Args:
            watch: called every WATCH_INTERVAL while more than a FEW packets come; returns whether another task has
                something to do.

        Raises:
            OSError: the queue's socket fails.
        """
        self._watch = watch
        with few_pauses(), exact_timers():
            while True:
                is_lively = self._turn()
                # `work` sets it too, so that this task wakes in time for what others have taken.
                self._waiting.set(self._core.next_deadline())
                if is_lively:
                    await trio.lowlevel.checkpoint()
                    continue
                await trio.lowlevel.wait_readable(self._waiting.fileno())

    def work(self) -> bool:
        """Take packets, a batch at most, and give the verdicts that are due; returns whether more packets may wait."""
        taken, _ = self._pass()
        self._waiting.set(self._core.next_deadline())
        return taken == BATCH

    def _pass(self) -> tuple[int, int]:
        """Take a batch, and give the verdicts that are due; returns how many of each."""
        seen = time.monotonic_ns()
        taken, answered = self._receive()
        verdicts = self._core.due(self._now(seen, taken))
        self.answer(verdicts)
        return taken, answered + len(verdicts)

    def _now(self, seen: int, taken: int) -> int:
        """The core's time, after so many packets were taken at a time (ns).

        While more packets wait, or may have come since, it must not pass their arrival.
        """
        return self._arrived if taken == BATCH else min(time.monotonic_ns(), seen + ARRIVAL_TOLERANCE)

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
                if woken is None:
                    return is_lively
                if woken == "others":
                    return True
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

    def _end_of_turn(self, begin: int) -> int:
        """When (ns) others need their turn, even if packets come seldom; its own turn has begun at `begin`."""
        if not self._knows_others:
            return begin + LONGEST_TURN
        if trio.to_thread.current_default_thread_limiter().borrowed_tokens:
            return begin + LONGEST_TURN_ALONE
        pause = trio.lowlevel.current_statistics().seconds_to_next_deadline
        return time.monotonic_ns() + (LONGEST_SLEEP if pause * s > LONGEST_SLEEP else int(pause * s))

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
        taken, _ = self._receive()
        self.answer(self._core.due(deadline), deadline)
        self._last_sent = deadline
        return taken

    def _has_to_watch(self, now: int) -> bool:
        """Watch, if packets came; returns whether another task has something to do."""
        self._watches_at = now + WATCH_INTERVAL
        before, self._watched = self._watched, self._core.counts.taken
        return self._watched - before >= FEW and self._watch()

    def _receive(self) -> tuple[int, int]:
        """Take the packets that wait in the queue, a batch at most, and give them to the core.

        Returns:
            How many; and how many of them went on already, as no policy wants them.
        """
        if self._output is not None:
            self._output.hand_on()
        if self._queue.receive() and self._looks_at_none and (row := self._queue.row()) and self._pass_on(row):
            return row.count, row.count
        packets = self._queue.packets()
        if packets:
            self.last_id, self._arrived = packets[-1].id, packets[-1].arrived
            self._is_soon = packets[0].arrived - self._last_sent < self._waiting.look
        core = self._core
        if self._recorder is not None:
            self._record(packets, self._recorder)
        for packet in packets:
            core.receive(packet, packet.arrived)
        if self.meter is not None:
            self.meter.arrived(packets)
        if self._drain_watcher is not None:
            self._signal_drained(self._drain_watcher)
        return len(packets), 0

    @property
    def _looks_at_none(self) -> bool:
        """Whether nobody but the core has anything to do with the packets that come."""
        return not (self._recorder or self.meter or self._drain_watcher or self._one_by_one or self._replaced)

    def _pass_on(self, row: Row) -> bool:
        """Let packets go on at once, if no policy wants them; returns whether they do."""
        queue, core, last = self._queue, self._core, row.count - 1
        first, arrived, before = queue.arrival(row, 0), queue.arrival(row, last), core.now
        if not core.pass_on(row.flows, row.raws, arrived):
            return False
        samples = [queue.arrival(row, nth) for nth in self.holds.sampled(row.count)]
        queue.accept(row)
        self.holds.passed(row.count, samples, first, before, time.monotonic_ns())
        self.last_id, self._arrived = row.last_id, arrived
        self._is_soon = first - self._last_sent < self._waiting.look
        return True

    def _record(self, packets: Sequence[Packet], recorder: PacketRecorder) -> None:
        """Record that these packets arrived, and that some are late for the core's time, which a replay must know."""
        taken = self._core.counts.taken
        for number, packet in enumerate(packets):
            recorder.arrived(packet)
            if packet.arrived < (now := self._core.now) and self._replayed < now:
                recorder.changed(Change(now, taken + number, "time"))
                self._replayed = now
            self._replayed = max(self._replayed, packet.arrived)

    def _signal_drained(self, drain_watcher: DrainWatcher) -> None:
        now = time.monotonic_ns()
        for flow in drain_watcher.look(now):
            for policy in self._core.listeners("drained"):
                given = SignalRecord(policy, Signal("drained", flow), now, self._core.counts.taken)
                self._core.signal(given.policy, given.signal, given.at)
                if self._recorder is not None:
                    self._recorder.signalled(given)

    def at_once(self, change: Callable[[int], None]) -> None:
        """Change the core between two packets; `change` is given the time (ns).

        Raises:
            ChangeError: the core refuses; nothing has changed.
        """
        seen = time.monotonic_ns()
        taken, _ = self._receive()
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

    @property
    def records(self) -> bool:
        """Whether it records packets."""
        return self._recorder is not None

    @property
    def held(self) -> int:
        """Packets that the kernel holds for the core."""
        return self._core.counts.held - len(self._replaced)

    def answer(self, verdicts: Sequence[Verdict], at: int = 0) -> None:
        """Carry these verdicts out, in their order, but not before a time (ns)."""
        if not verdicts:
            return
        if self._one_by_one or self._injected != self._core.counts.injected or self._replaced:
            wait_until(at)
            unanswered = {verdict.packet.root for verdict in verdicts}
            for verdict in verdicts:
                unanswered.discard(verdict.packet.root)
                self._answer_alone(verdict, unanswered)
        else:
            begin = max(time.monotonic_ns(), at)
            self._queue.answer(verdicts, at)
            self._note(verdicts, begin)

    def _answer_alone(self, verdict: Verdict, unanswered: Set[Packet]) -> None:
        """Carry one verdict out; others are to come for the unanswered packets."""
        begin = time.monotonic_ns()
        packet, root, fate = verdict.packet, verdict.packet.root, verdict.fate
        if fate == "injected":
            self._injected += 1
            original = root.copy_of
            if original is not None and (original.holder is not None or original in unanswered):
                self._send_early(packet, original)
            else:
                self.injector.send(packet)
        elif root.id not in self._replaced:
            self._queue.answer((verdict,))
        else:
            self._replaced.remove(root.id)
            if fate == "sent":
                self.injector.send(packet)
        self._note((verdict,), begin)

    def _send_early(self, copy: Packet, original: Packet) -> None:
        """Send a copy before the packet that it was copied from: in its place, if they are of one flow.

        Before a connection's first packet has gone, nothing that is injected belongs to the connection, and NAT would
        give it another port.
        """
        if not original.id or original.id in self._replaced or flow_key(copy.raw) != flow_key(original.raw):
            self.injector.send(copy)
            return
        changed = Packet(copy.raw, original.id)
        changed.origin = original
        self._queue.answer((Verdict(changed, "sent", 0),))
        self._replaced.add(original.id)

    def _note(self, verdicts: Sequence[Verdict], begin: int) -> None:
        """Record that these verdicts were carried out from `begin` (ns) until now."""
        end = time.monotonic_ns()
        self.holds.add(verdicts, end)
        if self.meter is not None:
            self.meter.left(verdicts, end)
        if self._drain_watcher is not None:
            self._drain_watcher.delivered(verdicts, end)
        if self._recorder is not None:
            tid = threading.get_native_id()
            self.take_changes()
            for verdict in verdicts:
                self._recorder.answered(verdict, begin, end, tid)

    def take_changes(self) -> None:
        """Count and record what has changed in the core. It keeps nothing of that, as a long run may change often."""
        changes = self._core.changes
        if not changes:
            return
        for change in changes:
            self.changed += 1
            if change.what == "replace":
                self.replaced += 1
                self.specs = change.specs or self.specs
            if self._recorder is not None:
                self._recorder.changed(change)
        changes.clear()

    def flush(self) -> None:
        """Write to the files what is recorded so far."""
        if self._recorder is not None:
            self._recorder.flush()

    def close(self) -> None:
        """Give up what it waits with; the queue stays open."""
        self._waiting.close()
        if self._drain_watcher is not None:
            self._drain_watcher.close()
