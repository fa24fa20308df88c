"""The front: the process of `shaper start`. Engines shape for it, one process for each queue.

The front installs the rules once all engines are ready, checks them, removes them, and adds up the engines' results. It
sees no packet, and runs no hook of a policy. Each engine has a guardian of its own that knows the rules: when an engine
dies or hangs, its packets go on and the rules are removed. An engine that ends, in whatever way, ends the run, because
the kernel would go on sending packets to its queue. When the front dies, the engines end in order and
remove the rules.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from math import inf
from typing import Any

import trio

from shaper.core.failure import Failure
from shaper.errors import ShaperError
from shaper.live.front.results import Result, merged, packets_received
from shaper.live.front.unmatched import UNMATCHED_AFTER, nothing_matched, passed
from shaper.live.front.worker import Worker
from shaper.live.nfqueue.numbers import first_number, numbered
from shaper.live.notices import Notices
from shaper.live.nursery import ungrouped
from shaper.live.progress import Progress
from shaper.live.rules.rules import Rules
from shaper.live.rules.ruleset import RULES_INTERVAL
from shaper.live.settings import Settings
from shaper.live.state import Kind, time_of_day
from shaper.live.summary import Summary
from shaper.units import s

BEHIND_ENGINES = 5
"""By how much its nice value is above theirs: nobody who looks is to keep a packet waiting."""
PATIENCE = 10
"""An engine that doesn't answer for this many times the watchdog is killed; its guardian lets the packets go on."""


class Front:
    """A run of one engine or several, which are forked at once, so make it before trio runs.

    Args:
        settings: what, how, how long; there must be a watchdog.
        workers: how many engines, one at least.
        cpus: one for each engine to stay on; empty for any.
        failed, warned: see `session.shape`.

    Attributes:
        settings: how it was started.
        began: when packets were shaped first, as RFC 3339 writes a time.
        listeners: called when something happens, see `shaper.live.state.Event`.
        rules: what brings the packets, once a queue is bound; None with `install_rules` off.
    """

    rules: Rules | None = None

    def __init__(
        self,
        settings: Settings,
        workers: int,
        cpus: Sequence[int],
        failed: Callable[[Failure], None],
        warned: Callable[[str], None],
    ) -> None:
        self.settings = settings
        self._cpus = cpus
        self.began = ""
        self.listeners: list[Callable[[Kind, dict[str, Any]], None]] = []
        self._failed, self._warned = failed, warned
        self._first = first_number(settings.queue, workers)
        self._started = time.monotonic_ns()
        self._rules_lost = self._bypassed = 0
        self._matched_before = 0  # packets counted by rules that were lost
        self._unmatched_after: float = UNMATCHED_AFTER * s
        self._passed_before: dict[str, int] = {}
        self._notices = Notices(self._report_failure, self._report_warning)
        self._stop = trio.Event()
        self._workers: list[Worker] = []
        self._error: ShaperError | None = None  # why there are no rules
        for nth in range(workers):
            number = self._first + nth
            its_own = replace(settings, queue=number, cpu=cpus[nth] if cpus else None, duration=None)
            if workers == 1:
                # It takes the first that is free when it binds it.
                its_own = replace(its_own, queue=settings.queue)
            name = f"worker {nth + 1} (queue {number})" if workers > 1 else ""
            self._workers.append(
                Worker(
                    name, its_own, self._rules_of, self._report_failure, self._report_warning, self.stop, self._workers
                )
            )

    def _rules_of(self, queue: int) -> Rules | None:
        """The rules, now that an engine has bound a queue."""
        if len(self._workers) == 1:
            self._first = queue
        if self.rules is None and self._error is None and self.settings.install_rules:
            try:
                self.rules = Rules(self.settings.match, self._first, len(self._workers))
            except ShaperError as error:
                self._error = error
                self.stop()
        return self.rules

    def _report_failure(self, failure: Failure) -> None:
        self._failed(failure)
        self.tell("failure", message=str(failure))

    def _report_warning(self, message: str) -> None:
        self._warned(message)
        self.tell("warning", message=message)

    def tell(self, kind: Kind, **data: Any) -> None:
        """Tell all listeners that something has happened."""
        for listener in self.listeners:
            listener(kind, data)

    @property
    def first_queue(self) -> int:
        """The number of the first queue; with only one, and no --queue, known once it is bound."""
        return self._first

    @property
    def queue_numbers(self) -> list[int]:
        """The numbers of all queues."""
        return list(range(self._first, self._first + len(self._workers)))

    @property
    def is_stopping(self) -> bool:
        """Whether the run is to end."""
        return self._stop.is_set()

    async def ask(self, what: str, **arguments: Any) -> list[Any]:
        """Ask all engines the same, at the same time; their answers, in order.

        Raises:
            UsageError, ShaperError: what the first one to answer so says is wrong.
            ShaperError: one of them has ended, or doesn't answer.
        """
        answers: list[Any] = [None] * len(self._workers)

        async def ask_one(nth: int, worker: Worker) -> None:
            answers[nth] = await worker.ask(what, **arguments)

        try:
            with trio.fail_after(self._patience), ungrouped():
                async with trio.open_nursery() as nursery:
                    for nth, worker in enumerate(self._workers):
                        nursery.start_soon(ask_one, nth, worker)
        except trio.TooSlowError:
            raise ShaperError("an engine gives no answer") from None
        except BaseExceptionGroup as errors:  # several engines say the same
            known, others = errors.split(ShaperError)
            if known is None or others is not None:
                raise
            raise next(_flat(known)) from None
        return answers

    @property
    def queues(self) -> str:
        """The numbers of the queues, in words."""
        return numbered(self._first, len(self._workers))

    def stop(self) -> None:
        """End the run in order; returns at once."""
        if not self._stop.is_set():
            self.tell("state", state="stopping")
        self._stop.set()

    async def run(
        self, ready: Callable[[], None] = lambda: None, started: Callable[[], None] = lambda: None
    ) -> Summary:
        """Shape until `stop` is called, for as long as the settings say, or until an engine has ended.

        Args:
            ready: called once the queues are bound, before packets come.
            started: called once packets are shaped.

        Raises:
            RulesError: the rules can't be set or removed.
            ShaperError: an engine has not ended in order; UsageError or TakenOver if that is what ended it.
        """
        with ungrouped():
            async with trio.open_nursery() as nursery:
                for worker in self._workers:
                    nursery.start_soon(self._listen, worker)
                try:
                    await self._until_ready()
                    if not self._stop.is_set():
                        ready()
                        self._started = time.monotonic_ns()
                        self.began = time_of_day()
                        if self.rules is not None:
                            self._passed_before = passed()
                            self.rules.install()
                        self._make_way()
                        started()
                        await self._until_stopped()
                finally:
                    self.stop()
                    with trio.CancelScope(shield=True):
                        await self._finish()
        if self._error is not None:
            raise self._error
        for worker in self._workers:
            worker.check()
        return self.summary_of(self._results())

    def _make_way(self) -> None:
        """Let the engines run before this process, and leave them the CPUs that they stay on."""
        os.nice(BEHIND_ENGINES)
        if others := os.sched_getaffinity(0).difference(self._cpus):
            os.sched_setaffinity(0, others)

    async def _listen(self, worker: Worker) -> None:
        await worker.listen()
        self.stop()

    async def _until_ready(self) -> None:
        """Wait until all engines are ready, or the run has to end."""
        async with trio.open_nursery() as nursery:

            async def give_up() -> None:
                await self._stop.wait()
                nursery.cancel_scope.cancel()

            nursery.start_soon(give_up)
            for worker in self._workers:
                await worker.ready.wait()
            nursery.cancel_scope.cancel()

    async def _until_stopped(self) -> None:
        duration = self.settings.duration
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch_rules)
            with trio.move_on_after(inf if duration is None else duration / s):
                await self._stop.wait()
            nursery.cancel_scope.cancel()

    async def _watch_rules(self) -> None:
        """Restore the rules when another program has removed some, or end the run."""
        while self.rules is not None:
            await trio.sleep(RULES_INTERVAL / s)
            matched, whole = await trio.to_thread.run_sync(self.rules.look)
            if self._stop.is_set():
                return  # perhaps an engine has detached them
            await self._see_unmatched(self._matched_before + matched)
            if whole:
                await self._see_bypassed(matched)
                continue
            self._rules_lost += 1
            if self.settings.on_rules_lost == "stop" or not await self._restore(self.rules):
                self.stop()
                return
            self._notices.rules_lost(self._rules_lost)

    async def _see_unmatched(self, matched: int) -> None:
        """Say so, once, when no packet has matched for some time."""
        if matched:
            self._unmatched_after = inf
        elif time.monotonic_ns() - self._started > self._unmatched_after:
            self._unmatched_after = inf
            match, before = self.settings.match, self._passed_before
            self._report_warning(await trio.to_thread.run_sync(nothing_matched, match, before))

    async def _see_bypassed(self, matched: int) -> None:
        """Count what the rules matched beyond the packets received, unless the engines have other things to do."""
        with trio.move_on_after(RULES_INTERVAL / s), suppress(ShaperError):
            received = [await worker.ask("count") for worker in self._workers]
            if None not in received:
                self._count_bypassed(matched, sum(received))

    async def _restore(self, rules: Rules) -> bool:
        """Set the rules again; False if an engine doesn't answer, for then its guardian has removed them."""
        await trio.to_thread.run_sync(rules.detach)
        received = 0
        for worker in self._workers:
            try:
                with trio.fail_after(self._patience):
                    received += await worker.ask("count_alive")
            except trio.TooSlowError:
                worker.kill()
                return False
            except ShaperError:
                return False  # it has ended
        matched = (await trio.to_thread.run_sync(rules.look)).packets
        self._count_bypassed(matched, received)
        self._matched_before = received + self._bypassed
        await trio.to_thread.run_sync(rules.restore)
        return True

    def _count_bypassed(self, matched: int, received: int) -> None:
        """Count what the rules matched beyond the packets received."""
        self._bypassed = max(self._bypassed, self._matched_before + matched - received)

    @property
    def _patience(self) -> float:
        """How long to wait for a worker, in seconds."""
        assert self.settings.watchdog is not None
        return PATIENCE * self.settings.watchdog / s

    async def _finish(self) -> None:
        """Let all engines send on what they hold, and leave nothing behind."""
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
                    matched = (await trio.to_thread.run_sync(self.rules.look)).packets
                    self._count_bypassed(matched, packets_received(self._results()))
                finally:
                    await trio.to_thread.run_sync(self.rules.remove)

    async def _until_all_ended(self) -> None:
        for worker in self._workers:
            await worker.ended.wait()

    def _results(self) -> list[Result]:
        return [worker.result for worker in self._workers if worker.result is not None]

    def progress(self) -> Progress:
        """The state that the engines last reported, added up."""
        now = Progress.of_all([worker.progress for worker in self._workers])
        return now._replace(bypassed=max(now.bypassed, self._bypassed))

    def summary_of(self, results: Sequence[Result]) -> Summary:
        """Counts, losses and holds, as the engines reported them."""
        return merged(
            results,
            bypassed=None if self.rules is None else self._bypassed,
            rules_lost=self._rules_lost,
            duration=time.monotonic_ns() - self._started,
            allow=self.settings.allow_bypass,
        )


def _flat(errors: BaseExceptionGroup[ShaperError]) -> Iterator[ShaperError]:
    """The errors in groups of groups, one after the other."""
    for error in errors.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _flat(error)
        else:
            yield error
