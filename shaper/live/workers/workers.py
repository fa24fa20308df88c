"""Several workers that shape together: one process per queue, one set of rules, one summary.

The process that starts them installs the rules once all are ready, checks them, removes them, and adds up the workers'
results. It runs no policy and sees no packet. Each worker has a guardian of its own that knows the rules: when a worker
dies or hangs, its packets go on and the rules are removed. A worker that ends, in whatever way, ends the run, because
the kernel would go on sending packets to its queue.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from math import inf

import trio

from shaper.core.failure import Failure
from shaper.live.nfqueue.numbers import first_number, numbered
from shaper.live.notices import Notices
from shaper.live.nursery import ungrouped
from shaper.live.progress import Progress
from shaper.live.rules.rules import Rules
from shaper.live.run import RULES_INTERVAL
from shaper.live.settings import Settings
from shaper.live.shared_rules import SharedRules
from shaper.live.summary import Summary
from shaper.live.workers.results import Result, merged, packets_received
from shaper.live.workers.worker import Worker
from shaper.units import s

PATIENCE = 10
"""A worker that doesn't answer for this many times the watchdog is killed; its guardian lets the packets go on."""


class Workers:
    """A run of several workers.

    Attributes:
        settings: how it was started.
        rules: what brings the packets; None with `install_rules` off.
        queues: the numbers of the queues, in words.
    """

    def __init__(
        self,
        settings: Settings,
        workers: int,
        cpus: Sequence[int],
        failed: Callable[[Failure], None],
        warned: Callable[[str], None],
    ) -> None:
        first = first_number(settings.queue, workers)
        self.settings = settings
        self.rules = Rules(settings.match, first, workers) if settings.install_rules else None
        self.queues = numbered(first, workers)
        self._started = time.monotonic_ns()
        self._rules_lost = self._bypassed = 0
        self._matched_before = 0  # packets counted by rules that were lost
        self._notices = Notices(failed, warned)
        self._one_ended = trio.Event()
        for_each = replace(settings, policies=(), duration=None)
        if self.rules is not None:
            for_each = replace(for_each, shared_rules=SharedRules(self.rules))
        self._workers = [
            Worker(
                f"worker {nth + 1} (queue {first + nth})",
                replace(for_each, queue=first + nth, cpu=cpus[nth] if cpus else None),
                failed,
                warned,
            )
            for nth in range(workers)
        ]

    async def run(self, stop: trio.Event, started: Callable[[Workers], None]) -> None:
        """Shape until `stop` is set, for as long as the settings say, or until a worker has ended.

        Args:
            stop: ends the run when set; set when it ends by itself.
            started: called once packets are shaped.

        Raises:
            RulesError: the rules can't be set or removed.
            ShaperError: a worker has not ended in order.
        """
        with ungrouped():
            async with trio.open_nursery() as nursery:
                for worker in self._workers:
                    nursery.start_soon(self._listen, worker)
                try:
                    await self._until_ready(stop)
                    if not (self._one_ended.is_set() or stop.is_set()):
                        self._started = time.monotonic_ns()
                        if self.rules is not None:
                            self.rules.install()
                        started(self)
                        await self._until(stop)
                finally:
                    with trio.CancelScope(shield=True):
                        await self._finish()
        for worker in self._workers:
            worker.check()

    async def _listen(self, worker: Worker) -> None:
        await worker.listen()
        self._one_ended.set()

    async def _until_ready(self, stop: trio.Event) -> None:
        """Wait until all workers are ready, one has ended, or `stop` is set."""
        async with trio.open_nursery() as nursery:

            async def give_up(event: trio.Event) -> None:
                await event.wait()
                nursery.cancel_scope.cancel()

            nursery.start_soon(give_up, stop)
            nursery.start_soon(give_up, self._one_ended)
            for worker in self._workers:
                await worker.ready.wait()
            nursery.cancel_scope.cancel()

    async def _until(self, stop: trio.Event) -> None:
        duration = self.settings.duration

        async def end_with_one() -> None:
            await self._one_ended.wait()
            stop.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(end_with_one)
            nursery.start_soon(self._watch_rules, stop)
            with trio.move_on_after(inf if duration is None else duration / s):
                await stop.wait()
            nursery.cancel_scope.cancel()

    async def _watch_rules(self, stop: trio.Event) -> None:
        """Restore the rules when another program has removed some, or end the run."""
        while self.rules is not None:
            await trio.sleep(RULES_INTERVAL / s)
            if (await trio.to_thread.run_sync(self.rules.look)).whole:
                continue
            self._rules_lost += 1
            if self.settings.on_rules_lost == "stop" or not await self._restore(self.rules):
                stop.set()
                return
            self._notices.rules_lost(self._rules_lost)

    async def _restore(self, rules: Rules) -> bool:
        """Set the rules again; False if a worker doesn't answer, for then its guardian has removed them."""
        await trio.to_thread.run_sync(rules.detach)
        with trio.move_on_after(self._patience) as waiting:
            counts = [await worker.count() for worker in self._workers]
        if waiting.cancelled_caught:
            for worker in self._workers:
                worker.kill_if_silent()
            return False
        await self._count_bypassed(rules, sum(counts))
        self._matched_before = sum(counts) + self._bypassed
        await trio.to_thread.run_sync(rules.restore)
        return True

    async def _count_bypassed(self, rules: Rules, received: int) -> None:
        """Count what the rules matched beyond the packets received."""
        matched = (await trio.to_thread.run_sync(rules.look)).packets
        self._bypassed = max(self._bypassed, self._matched_before + matched - received)

    @property
    def _patience(self) -> float:
        """How long to wait for a worker, in seconds."""
        assert self.settings.watchdog is not None
        return PATIENCE * self.settings.watchdog / s

    async def _finish(self) -> None:
        """Let all workers send on what they hold, and leave nothing behind."""
        try:
            if self.rules is not None:
                # They bring no more packets, but their counters can still be read.
                await trio.to_thread.run_sync(self.rules.detach)
        finally:
            for worker in self._workers:
                worker.stop()
            with trio.move_on_after(self._patience):
                await self._until_all_ended()
            for worker in self._workers:
                worker.kill()
            await self._until_all_ended()
            if self.rules is not None:
                try:
                    await self._count_bypassed(self.rules, packets_received(self._results()))
                finally:
                    await trio.to_thread.run_sync(self.rules.remove)

    async def _until_all_ended(self) -> None:
        for worker in self._workers:
            await worker.ended.wait()

    def _results(self) -> list[Result]:
        return [worker.result for worker in self._workers if worker.result is not None]

    def progress(self) -> Progress:
        """The state that the workers last reported, added up."""
        return Progress.of_all([worker.progress for worker in self._workers])

    def summary(self) -> Summary:
        """Counts, losses and holds, once all workers have ended in order."""
        return merged(
            self._results(),
            bypassed=None if self.rules is None else self._bypassed,
            rules_lost=self._rules_lost,
            duration=time.monotonic_ns() - self._started,
            allow=self.settings.allow_bypass,
        )


async def shape_together(
    settings: Settings,
    workers: int,
    cpus: Sequence[int] = (),
    *,
    started: Callable[[Workers], None] = lambda run: None,
    failed: Callable[[Failure], None] = lambda failure: None,
    warned: Callable[[str], None] = lambda message: None,
    stop: trio.Event | None = None,
) -> Summary:
    """As `session.shape`, with several workers.

    Args:
        settings: what, how, how long; `queue` is the first one's, and there must be a watchdog.
        workers: how many, two at least.
        cpus: one per worker, for its engine to stay on; empty for any.
        started, failed, warned, stop: see there.

    Raises:
        ShaperError: as there; or a worker has ended without having been asked to.
    """
    run = Workers(settings, workers, cpus, failed, warned)
    await run.run(trio.Event() if stop is None else stop, started)
    return run.summary()
