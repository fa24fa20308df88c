"""A run under way: watched while it lasts, and ended so that no packet is lost."""

from __future__ import annotations

import time
from collections.abc import Callable
from math import inf

import trio

from shaper.core.core import Core
from shaper.core.failure import Failure
from shaper.core.verdict import Verdict
from shaper.live.engine import Engine
from shaper.live.guardian.guardian import Guardian
from shaper.live.memory import GATHERED, MemoryLimit
from shaper.live.nfqueue.counters import QueueCounters
from shaper.live.nfqueue.losses import Losses
from shaper.live.nfqueue.queue import Queue
from shaper.live.notices import Notices
from shaper.live.nursery import ungrouped
from shaper.live.progress import Progress
from shaper.live.rules.ruleset import RuleSet
from shaper.live.settings import Settings
from shaper.live.shared import Keeper
from shaper.live.summary import Summary
from shaper.units import ms, s

LOOK = 50 * ms
"""How often the kernel's own count of held packets, and the memory, are looked at."""
LOOK_AT_RULES = 1 * s
"""How often it is looked whether the rules are still there; that costs some ms of another process."""
AT_ONCE = 4096
"""So many packets go on between signs of life when all are let go."""
QUIET = 5 * ms
"""The queue is empty when no packet came for this long after the rules were detached."""
PATIENCE = 1 * s
"""How long packets that someone else's rules bring are waited for at the end."""


class Run:
    """A run under way.

    Attributes:
        settings: what it was told.
        queue: what was bound.
        rules: what brings the packets; None with `install_rules` off.
        core: its counts so far.
        engine: how late it is.
        rules_lost: how often other programs removed some of the rules.
        bypassed: packets that our rules matched and that were never taken, as far as was seen.
        keeper: sees to the rules: the guardian, if there is one; None with `install_rules` off.
        guardian: sees to the packets when this process can't; None with `watchdog` off.
        memory_limit: how much memory the policies may gather; None if as much as there is.
    """

    keeper: Keeper | None = None
    guardian: Guardian | None = None
    memory_limit: MemoryLimit | None = None

    def __init__(
        self,
        settings: Settings,
        queue: Queue,
        rules: RuleSet | None,
        core: Core,
        engine: Engine,
        failed: Callable[[Failure], None],
        warned: Callable[[str], None],
    ) -> None:
        self.settings = settings
        self.queue = queue
        self.rules = rules
        self.core = core
        self.engine = engine
        self.bypassed = self.rules_lost = 0
        self._losses = Losses()
        self._passed = 0  # what the counters of rules that were lost stood for
        self._notices = Notices(failed, warned)
        self._begun = time.monotonic_ns()
        self._counters = QueueCounters(queue.number)

    async def until(self, stop: trio.Event) -> None:
        """Shape until told to stop, for as long as the settings say, or until a policy fails."""
        duration = self.settings.duration
        with ungrouped():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.engine.run)
                nursery.start_soon(self._watch, stop)
                nursery.start_soon(self._watch_rules, stop)
                nursery.start_soon(self._show_life)
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
                await trio.sleep(self.settings.watchdog / 4 / s)

    async def _watch(self, stop: trio.Event) -> None:
        while True:
            self._look_for_losses()
            self._look_at_memory()
            self._notices.failures(self.core.failures)
            if self.core.failures and self.settings.on_error == "stop":
                stop.set()
            await trio.sleep(LOOK / s)

    async def _watch_rules(self, stop: trio.Event) -> None:
        """Put the rules right when another program has removed some, or end the run."""
        while self.keeper is not None:
            await trio.sleep(LOOK_AT_RULES / s)
            if await self.look_at_rules():
                continue
            self.rules_lost += 1
            if self.settings.on_rules_lost == "stop":
                stop.set()
                return
            await self._restore(self.keeper)
            self._notices.rules_lost(self.rules_lost)

    async def _restore(self, keeper: Keeper) -> None:
        """Set the rules anew, and their counters with them: nothing may come while these are made up for."""
        await trio.to_thread.run_sync(keeper.detach)
        while self.engine.work():
            await trio.lowlevel.checkpoint()
        await self.look_at_rules()
        self._passed = self.come() + self.bypassed
        await trio.to_thread.run_sync(keeper.restore)

    def _look_for_losses(self) -> None:
        """See whether the kernel still has all packets that the core holds."""
        counters, held, taken = self._counters.read(), self.core.counts.held, self.core.counts.taken
        waiting = counters.held if counters else held
        if self._losses.see(held, waiting) and not self.engine.work():
            self._losses.settle(held, waiting, self.core.counts.taken - taken)
        self._notices.held(waiting, length=self.settings.length, fail_open=self.settings.fail_open)

    def _look_at_memory(self) -> None:
        """Let the policies go before they have gathered so much that the engine gets no memory any more."""
        if self.memory_limit is not None and self.memory_limit.is_used_up():
            self.memory_limit = None
            self._answer(self.core.give_up(MemoryError(f"more than {GATHERED >> 20} MB were gathered")))

    async def look_at_rules(self) -> bool:
        """Whether all are there; the packets that they matched and that were never taken have passed unshaped."""
        assert self.keeper is not None
        matched, whole = await trio.to_thread.run_sync(self.keeper.look)
        if not self.engine.work():
            self.bypassed = max(self.bypassed, self._passed + matched - self.come(), self._unread())
        return whole

    def _unread(self) -> int:
        """Packets that found no room in the socket's buffer and passed, by the gaps in the kernel's numbering.

        A rule counts what a TCP sender left uncut as one packet, but the queue gets it cut up into many.
        """
        counters = self._counters.read()
        if counters is None and not self.settings.fail_open:
            return 0  # they were dropped
        dropped = counters.lost_buffer_full if counters else 0
        return (self.engine.last_id - self.core.counts.taken - dropped) % (1 << 32)

    def come(self) -> int:
        """Packets that the queue got, those included that it had to drop."""
        counters = self._counters.read()
        return self.core.counts.taken + (counters.lost_queue_full + counters.lost_buffer_full if counters else 0)

    async def finish(self) -> None:
        """Send on all that is held, let pass what still comes, and leave nothing behind."""
        self._look_for_losses()
        self._notices.failures(self.core.failures)
        self._beat()
        self._answer(self.core.close())
        with ungrouped():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.engine.run)
                nursery.start_soon(self._show_life)
                try:
                    if self.keeper is not None:
                        # No more packets, but the rules' counters stay to be read.
                        await trio.to_thread.run_sync(self.keeper.detach)
                    await self._drain()
                    if self.keeper is not None:
                        await self.look_at_rules()
                finally:
                    if self.keeper is not None:
                        await trio.to_thread.run_sync(self.keeper.remove)
                    nursery.cancel_scope.cancel()

    def _answer(self, verdicts: list[Verdict]) -> None:
        """Answer so many packets that it may take long enough to be taken for dead."""
        for at in range(0, len(verdicts), AT_ONCE):
            self._beat()
            self.engine.answer(verdicts[at : at + AT_ONCE])

    async def _drain(self) -> None:
        """Take packets until no more come."""
        # With someone else's rules they may never cease.
        with trio.move_on_after(inf if self.rules is not None else PATIENCE / s):
            before = -1
            while self.core.counts.taken != before:
                before = self.core.counts.taken
                await trio.sleep(QUIET / s)
                while self.engine.work():
                    await trio.lowlevel.checkpoint()

    @property
    def queues(self) -> str:
        """The queue, in words."""
        return f"queue {self.queue.number}"

    def progress(self) -> Progress:
        """How it goes."""
        counts = self.core.counts
        return Progress(counts.taken, counts.held, counts.dropped, self.bypassed, self.engine.holds.worst_lately())

    def summary(self) -> Summary:
        """What it came to so far."""
        core, holds, counters = self.core, self.engine.holds, self._counters.read()
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
            duration=time.monotonic_ns() - self._begun,
            counters=core.counters,
            allow_bypass=self.settings.allow_bypass,
        )
