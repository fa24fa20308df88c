"""A run, from binding the queue to the summary: the one way in which live traffic is shaped.

The order at the end is what keeps packets whole: all that are held go on, in order; what
still comes passes at once; the rules go; the queue is drained until it is empty; only then
is it closed, for closing makes the kernel drop what is left in it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Literal

import trio

from shaper.core import MAX_HOLD, Core
from shaper.live.counters import QueueCounters
from shaper.live.endless import breakable
from shaper.live.engine import Engine
from shaper.live.guardian import Guardian
from shaper.live.inject import Injector
from shaper.live.nursery import ungrouped
from shaper.live.owner import Owner
from shaper.live.queue import HEADERS, MAX_LENGTH, WHOLE, Queue, open_queue
from shaper.live.record import Recorder
from shaper.live.rules import Match, Rules
from shaper.live.summary import Summary
from shaper.policy import Policy
from shaper.seat import Failure
from shaper.units import ms, s

LOOK = 50 * ms
"""How often the kernel's own count of held packets is looked at."""
QUIET = 5 * ms
"""The queue is empty when no packet came for this long after the rules were detached."""
PATIENCE = 1 * s
"""How long packets that someone else's rules bring are waited for at the end."""


@dataclass(frozen=True)
class Settings:
    """All that a run is told.

    Attributes:
        policies: the pipeline.
        match: which packets.
        specs: the policies as they were given, for the journal.
        queue: its number; None takes a free one.
        seed: decides all chance.
        max_hold: the longest that any packet is held, in ns.
        on_error: end the run when a policy fails, or let packets pass by that policy.
        journal: a file for what happened to each packet.
        capture: a pcapng file for the packets as they came and as they went.
        one_verdict_per_write: so that what each causes in the kernel can be told apart; slower.
        marks: a descriptor of the kernel's trace_marker, to write there when each packet came and went.
        install_rules: without, someone else's rules bring the packets.
        duration: end the run after so many ns.
        length: how many packets the kernel holds at most.
        buffer: bytes of the socket's receive buffer to ask for.
        fail_open: packets pass unshaped, rather than being dropped, when the queue is full.
        gso: take TCP segments that the sender left uncut, up to 64 kB, whole.
        allow_bypass: packets that passed unshaped are no failure.
        watchdog: when the engine gives no sign of life for so long (ns), a guardian lets all packets
            go on; None for no guardian.
    """

    policies: tuple[Policy, ...]
    match: Match
    specs: tuple[str, ...] = ()
    queue: int | None = None
    seed: int | str = 0
    max_hold: int = MAX_HOLD
    on_error: Literal["stop", "continue"] = "stop"
    journal: Path | None = None
    capture: Path | None = None
    one_verdict_per_write: bool = False
    marks: int | None = None
    install_rules: bool = True
    duration: int | None = None
    length: int = MAX_LENGTH
    buffer: int = 16 << 20
    fail_open: bool = True
    gso: bool = False
    allow_bypass: bool = False
    watchdog: int | None = None

    @property
    def copy_range(self) -> int:
        """How many bytes of each packet the kernel is to copy."""
        whole = self.capture is not None or any(policy.needs == "packet" for policy in self.policies)
        return WHOLE if whole else HEADERS


class Started:
    """A run under way.

    Attributes:
        settings: what it was told.
        queue: what was bound.
        rules: what was installed; None with `install_rules` off.
        core: its counts so far.
        engine: how late it is.
        bypassed: packets that our rules matched and that were never taken, as far as was seen.
        lost_to_reload: held packets that the kernel has dropped, as far as was seen.
        guardian: sees to the packets when this process can't; None with `watchdog` off.
    """

    guardian: Guardian | None = None

    def __init__(
        self,
        settings: Settings,
        queue: Queue,
        rules: Rules | None,
        core: Core,
        engine: Engine,
        failed: Callable[[Failure], None],
    ) -> None:
        self.settings = settings
        self.queue = queue
        self.rules = rules
        self.core = core
        self.engine = engine
        self.bypassed = self.lost_to_reload = 0
        self._missing = self._seen = 0
        self._failed = failed
        self._told: set[str] = set()
        self._begun = time.monotonic_ns()
        self._counters = QueueCounters(queue.number)

    async def until(self, stop: trio.Event) -> None:
        """Shape until told to stop, for as long as the settings say, or until a policy fails."""
        duration = self.settings.duration
        with ungrouped():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.engine.run)
                nursery.start_soon(self._watch, stop)
                nursery.start_soon(self._show_life)
                with trio.move_on_after(inf if duration is None else duration / s):
                    await stop.wait()
                nursery.cancel_scope.cancel()

    async def _show_life(self) -> None:
        if self.guardian is not None and self.settings.watchdog is not None:
            while True:
                self.guardian.beat()
                await trio.sleep(self.settings.watchdog / 4 / s)

    async def _watch(self, stop: trio.Event) -> None:
        while True:
            self._look_for_losses()
            self._report()
            if self.core.failures and self.settings.on_error == "stop":
                stop.set()
            await trio.sleep(LOOK / s)

    def _report(self) -> None:
        """Tell of the first failure of each policy."""
        failures = self.core.failures
        for failure in failures[self._seen :]:
            if failure.policy not in self._told:
                self._told.add(failure.policy)
                self._failed(failure)
        self._seen = len(failures)

    def _look_for_losses(self) -> None:
        """See whether the kernel still has all packets that the core holds."""
        counters = self._counters.read()
        if counters is not None:
            missing = max(0, self.core.held - counters.held)
            self.lost_to_reload += max(0, missing - self._missing)
            self._missing = missing

    async def count_bypassed(self) -> None:
        """Ask the rules how many packets they matched; those that were never taken passed unshaped."""
        if self.rules is not None:
            matched = await trio.to_thread.run_sync(self.rules.packets)
            if not self.engine.work():
                self.bypassed = max(self.bypassed, matched - self.core.taken)

    async def finish(self) -> None:
        """Send on all that is held, let pass what still comes, and leave nothing behind."""
        self._look_for_losses()
        self._report()
        self.engine.answer(self.core.close())
        with ungrouped():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.engine.run)
                nursery.start_soon(self._show_life)
                try:
                    if self.rules is not None:
                        # No more packets, but the rules' counters stay to be read.
                        await trio.to_thread.run_sync(self.rules.detach)
                    await self._drain()
                    await self.count_bypassed()
                finally:
                    if self.rules is not None:
                        await trio.to_thread.run_sync(self.rules.remove)
                    nursery.cancel_scope.cancel()

    async def _drain(self) -> None:
        """Take packets until no more come."""
        # With someone else's rules they may never cease.
        with trio.move_on_after(inf if self.rules is not None else PATIENCE / s):
            before = -1
            while self.core.taken != before:
                before = self.core.taken
                await trio.sleep(QUIET / s)
                while self.engine.work():
                    await trio.lowlevel.checkpoint()

    def summary(self) -> Summary:
        """What it came to so far."""
        core, holds, counters = self.core, self.engine.holds, self._counters.read()
        return Summary(
            taken=core.taken,
            sent=core.sent,
            dropped=core.dropped,
            overflowed=core.overflowed,
            injected=core.injected,
            not_injected=self.engine.injector.failed,
            bypassed=None if self.rules is None else self.bypassed,
            cut_short=core.cut_short,
            lost_queue_full=counters and counters.lost_queue_full,
            lost_buffer_full=counters and counters.lost_buffer_full,
            lost_to_reload=self.lost_to_reload,
            wanted=holds.wanted,
            actual=holds.actual,
            late=holds.late,
            failures=tuple(core.failures),
            duration=time.monotonic_ns() - self._begun,
            counters=core.counters,
            allow_bypass=self.settings.allow_bypass,
        )


async def shape(
    settings: Settings,
    *,
    started: Callable[[Started], None] = lambda run: None,
    failed: Callable[[Failure], None] = lambda failure: None,
    stop: trio.Event | None = None,
) -> Summary:
    """Shape live traffic until told to stop, and leave nothing behind, however it ends.

    Args:
        settings: what, how, how long.
        started: called once packets are shaped.
        failed: called with the first failure of each policy, at once.
        stop: ends the run when set.

    Raises:
        QueueError: the queue can't be had.
        RulesError: the rules can't be set.
        UsageError: no packet could ever match.
        TakenOver: the guardian took this process for dead.
    """
    if stop is None:
        stop = trio.Event()
    with ExitStack() as opened:
        run = _open(settings, opened, failed)
        try:
            started(run)
            await run.until(stop)
        finally:
            with trio.CancelScope(shield=True):
                await run.finish()
        return run.summary()


def _open(settings: Settings, opened: ExitStack, failed: Callable[[Failure], None]) -> Started:
    """Bind the queue, then bring packets to it."""
    core = Core(settings.policies, seed=settings.seed, max_hold=settings.max_hold)
    queue = opened.enter_context(
        closing(
            open_queue(
                settings.queue,
                copy_range=settings.copy_range,
                length=settings.length,
                buffer=settings.buffer,
                fail_open=settings.fail_open,
                gso=settings.gso,
            )
        )
    )
    recorder = None
    if (settings.journal, settings.capture, settings.marks) != (None, None, None):
        recorder = Recorder(
            settings.journal,
            settings.capture,
            policies=settings.specs,
            seed=settings.seed,
            paired=settings.one_verdict_per_write,
            marks=settings.marks,
        )
        opened.enter_context(closing(recorder))
    injector = opened.enter_context(closing(Injector()))
    engine = Engine(core, queue, injector, recorder=recorder, one_by_one=settings.one_verdict_per_write)
    opened.enter_context(closing(engine))
    rules = Rules(settings.match, queue.number) if settings.install_rules else None
    run = Started(settings, queue, rules, core, engine, failed)
    if settings.watchdog is not None:
        owner, families = (rules.owner, rules.text()) if rules is not None else (Owner.here(queue.number), ())
        run.guardian = Guardian(queue.fileno(), owner, tuple(families), watchdog=settings.watchdog)
        opened.callback(run.guardian.dismiss)
        opened.enter_context(breakable())
    if rules is not None:
        rules.install()
    return run
