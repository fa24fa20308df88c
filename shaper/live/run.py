"""A run under way: watched while it lasts, and ended so that no packet is lost."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from math import inf

import trio

from shaper.core.core import Core
from shaper.core.failure import Failure
from shaper.core.verdict import Verdict
from shaper.journal import FLUSH_INTERVAL
from shaper.live.engine import Engine
from shaper.live.guardian.guardian import Guardian
from shaper.live.lateness import Holds
from shaper.live.memory import GRADUAL_LIMIT, MemoryLimit
from shaper.live.nfqueue.counters import QueueCounters
from shaper.live.nfqueue.losses import Losses
from shaper.live.nfqueue.queue import WHOLE, Queue
from shaper.live.notices import Notices
from shaper.live.nursery import ungrouped
from shaper.live.progress import Progress
from shaper.live.rules.ruleset import RULES_INTERVAL, RuleSet
from shaper.live.settings import Settings
from shaper.live.shared_rules import RulesControl, SharedRules
from shaper.live.summary import Summary
from shaper.live.ticks import next_tick
from shaper.policy.base import Policy
from shaper.units import ms, s

IDLE_INTERVAL = 1 * s
"""Between two looks at the kernel's own count of held packets while no packets come."""
QUIET_INTERVAL = 330 * ms
"""The same while few come, or some are held, and at any time between two looks at the memory used.

The process then wakes for its guardian, too, which is told that it lives.
"""
VERDICTS_PER_BEAT = 4096
"""When all packets are let go, a sign of life is given after this many."""
QUIET_TIME = 5 * ms
"""The queue is empty when no packet has come for this long after the rules were detached."""
DRAIN_LIMIT = 1 * s
"""How long packets are taken at the end, beyond those that wait, if someone else's rules still bring some."""


class Run:
    """A run under way.

    Attributes:
        settings: how it was started.
        queue: where the packets come from.
        rules: what brings the packets; None with `install_rules` off.
        core: has the counts so far.
        engine: has the holds so far.
        rules_lost: how often other programs removed some of the rules.
        bypassed: packets that our rules matched and that were never taken, as far as was seen.
        takes_uncut: whether TCP segments that the sender left uncut are taken whole; once a change ends it, it is over.
        rules_control: changes the rules: the guardian, if there is one; None with `install_rules` off.
        guardian: lets the packets go on when this process can't; None with `watchdog` off.
        memory_limit: how much memory the policies may take; None if there is no limit.
    """

    rules_control: RulesControl | None = None
    guardian: Guardian | None = None
    memory_limit: MemoryLimit | None = None

    def __init__(
        self,
        settings: Settings,
        queue: Queue,
        rules: RuleSet | None,
        core: Core,
        engine: Engine,
        counters: QueueCounters,
        failed: Callable[[Failure], None],
        warned: Callable[[str], None],
    ) -> None:
        self.settings = settings
        self.queue, self.rules = queue, rules
        self.core, self.engine = core, engine
        self.takes_uncut = settings.takes_uncut(settings.all_policies)
        self.bypassed = self.rules_lost = 0
        self._losses = Losses()
        self._seen = 0  # how many packets were taken when it was last seen whether there are losses
        self._beats_at = 0  # when it gives its next sign of life, in ns
        self._sees_at = 0  # when that is seen next (ns), even if no more come
        self._matched_before = 0  # packets counted by rules that were lost
        self._left = self._left_before = 0  # packets of connections that have left the queue, and those by such rules
        self._notices = Notices(failed, warned)
        self._started = time.monotonic_ns()
        self._counters = counters

    async def until(self, stop: trio.Event) -> None:
        """Shape until `stop` is set, for as long as the settings say, or until a policy fails."""
        duration = self.settings.duration
        with ungrouped():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.engine.run, partial(self._look, stop), self._rest)
                nursery.start_soon(self._watch_rules, stop)
                nursery.start_soon(self._flush)
                with trio.move_on_after(inf if duration is None else duration / s):
                    await stop.wait()
                nursery.cancel_scope.cancel()

    def _beat(self) -> None:
        if self.guardian is not None:
            self.guardian.beat()

    async def _show_life(self) -> None:
        if self.guardian is not None and self.settings.watchdog is not None:
            while True:
                self.guardian.beat()
                await next_tick(self.settings.watchdog // 4)

    @property
    def _rest(self) -> int:
        """How long (ns) it may go without a sign of life and a look."""
        return min(QUIET_INTERVAL, (self.settings.watchdog or QUIET_INTERVAL * 3) // 3)

    async def _flush(self) -> None:
        """Keep the files of a long run readable while it goes on."""
        while self.engine.records:
            await next_tick(FLUSH_INTERVAL)
            self.engine.flush()

    def _look(self, stop: trio.Event) -> bool:
        """Show life, and see what packets and policies have done; returns whether a task has something to do for it."""
        now = time.monotonic_ns()
        if now >= self._beats_at:
            # Not each time: the guardian, woken, may take the CPU from the engine for half a millisecond.
            self._beats_at = now + self._rest * 3 // 4
            self._beat()
        self._look_for_losses()
        self._look_at_memory()
        self.engine.take_changes()
        self._notices.failures(self.core.failures)
        if self.core.failures and self.settings.on_error == "stop":
            stop.set()
        return stop.is_set()

    async def _watch_rules(self, stop: trio.Event) -> None:
        """Restore the rules when another program has removed some, or end the run."""
        while self.rules_control is not None:
            await next_tick(RULES_INTERVAL)
            if await self._check_rules():
                continue
            self.rules_lost += 1
            if self.settings.on_rules_lost == "stop":
                stop.set()
                return
            await self._restore(self.rules_control)
            self._notices.rules_lost(self.rules_lost)

    async def _restore(self, rules_control: RulesControl) -> None:
        """Set the rules again. Their counters begin at zero, so what the old ones brought is counted before that."""
        await trio.to_thread.run_sync(rules_control.detach)
        while self.engine.work():
            await trio.lowlevel.checkpoint()
        await self._check_rules()
        self._matched_before = self.packets_received() + self.bypassed
        self._left_before = self._left
        await trio.to_thread.run_sync(rules_control.restore)

    def _look_for_losses(self) -> None:
        """See whether the kernel still has all packets that it holds for the core.

        Where none is held and none has come, every QUIET_INTERVAL would be too much of an idle engine's CPU time.
        """
        held, taken, now = self.engine.held, self.core.counts.taken, time.monotonic_ns()
        if not held and taken == self._seen and now < self._sees_at:
            return
        self._seen, self._sees_at = taken, now + IDLE_INTERVAL
        counters = self._counters.read()
        waiting = counters.held if counters else held
        if self._losses.see(held, waiting) and not self.engine.work():
            self._losses.settle(held, waiting, self.core.counts.taken - taken)
        self._notices.held(waiting, length=self.settings.length, fail_open=self.settings.fail_open)

    def _look_at_memory(self) -> None:
        """Give the policies up before they have taken so much memory that the engine gets none."""
        if self.memory_limit is not None and self.memory_limit.is_used_up():
            self.memory_limit = None
            self._answer(self.core.give_up(MemoryError(f"more than {GRADUAL_LIMIT >> 20} MB were taken")))

    async def _check_rules(self) -> bool:
        """Whether all rules are there; packets that they matched and that were never taken count as bypassed."""
        assert self.rules_control is not None
        if isinstance(self.rules_control, SharedRules):
            seen = self.rules_control.look()  # asks nobody, so it needs no thread, which costs CPU time
        else:
            seen = await trio.to_thread.run_sync(self.rules_control.look)
            self._left = max(self._left, self._left_before + seen.left)
        if not self.engine.work():
            self.bypassed = max(
                self.bypassed, self._matched_before + seen.packets - self.packets_received(), self._missed()
            )
        return seen.whole

    def _missed(self) -> int:
        """Packets that found no room in the socket's buffer and passed, by the gaps in the kernel's numbering.

        The rules don't count them all: what a TCP sender left uncut is one packet to a rule, and many to the queue.
        """
        counters = self._counters.read()
        if counters is None and not self.settings.fail_open:
            return 0  # they were dropped
        dropped = counters.lost_buffer_full if counters else 0
        return (self.engine.last_id - self.core.counts.taken - dropped) % (1 << 32)

    def packets_received(self) -> int:
        """How many packets the queue received, including those that it had to drop."""
        counters = self._counters.read()
        return self.core.counts.taken + (counters.lost_queue_full + counters.lost_buffer_full if counters else 0)

    async def finish(self) -> None:
        """Send on all that is held, let pass what still comes, and leave nothing behind.

        Raises:
            RulesError: the rules can't be removed.
        """
        self._look_for_losses()
        self._notices.failures(self.core.failures)
        self._beat()
        self._answer(self.core.close())
        with ungrouped():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.engine.run)
                nursery.start_soon(self._show_life)
                try:
                    if self.rules_control is not None:
                        # They bring no more packets, but their counters can still be read.
                        await trio.to_thread.run_sync(self.rules_control.detach)
                    await self._drain()
                    if self.rules_control is not None:
                        await self._check_rules()
                finally:
                    if self.rules_control is not None:
                        await trio.to_thread.run_sync(self.rules_control.remove)
                    nursery.cancel_scope.cancel()

    def _answer(self, verdicts: list[Verdict]) -> None:
        """Answer these packets, with signs of life in between, since there may be many."""
        for at in range(0, len(verdicts), VERDICTS_PER_BEAT):
            self._beat()
            self.engine.answer(verdicts[at : at + VERDICTS_PER_BEAT])

    async def _drain(self) -> None:
        """Take packets until no more come. Someone else's rules may bring them for ever; then those that wait now."""
        counts, counters, before = self.core.counts, self._counters.read(), -1
        waiting = counts.taken + (counters.held if counters else 0)
        limit = inf if self.rules is not None else trio.current_time() + DRAIN_LIMIT / s

        def is_over() -> bool:
            return counts.taken >= waiting and trio.current_time() >= limit

        while counts.taken != before and not is_over():
            before = counts.taken
            await trio.sleep(QUIET_TIME / s)
            while self.engine.work() and not is_over():
                await trio.lowlevel.checkpoint()

    def prepare(self, pipeline: Sequence[Policy]) -> None:
        """Get ready for policies that ask for more than those at work: whole packets, cut segments, a look at sockets.

        Raises:
            ShaperError: this kernel gives no information about sockets.
        """
        if any("drained" in policy.signals for policy in pipeline):
            self.engine.watch_drained()
        if self.settings.copy_range < WHOLE and any(policy.needs == "packet" for policy in pipeline):
            self.queue.copy_whole()
        if self.takes_uncut and not self.settings.takes_uncut(pipeline):
            self.takes_uncut = False
            self.queue.cut()

    def progress(self) -> Progress:
        """The state now; resets the greatest lateness."""
        counts = self.core.counts
        return Progress(counts.taken, counts.held, counts.dropped, self.bypassed, self.engine.holds.worst_lately())

    def summary(self, *, is_over: bool = True) -> Summary:
        """Counts, losses and, if the run is over, holds: these take long to sort."""
        core, counters = self.core, self._counters.read()
        holds = self.engine.holds if is_over else Holds()
        return Summary(
            taken=core.counts.taken,
            sent=core.counts.sent,
            dropped=core.counts.dropped,
            overflowed=core.counts.overflowed,
            injected=core.counts.injected,
            not_injected=self.engine.injector.failed,
            bypassed=None if self.rules is None else self.bypassed,
            cut_short=core.counts.cut_short,
            lost_queue_full=counters and counters.lost_queue_full,
            lost_buffer_full=counters and counters.lost_buffer_full,
            lost_to_reload=self._losses.count,
            rules_lost=self.rules_lost,
            wanted=holds.wanted,
            actual=holds.actual,
            late=holds.late,
            failures=core.failures,
            duration=time.monotonic_ns() - self._started,
            counters=core.counters,
            stages=core.stages,
            allow_bypass=self.settings.allow_bypass,
            uncut=self.takes_uncut,
            connections_left=self.engine.connmark.connections if self.engine.connmark is not None else None,
            packets_left=self._left if self.engine.connmark is not None else None,
        )
