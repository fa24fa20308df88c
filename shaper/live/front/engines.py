"""The engines of a run in one network namespace, and the rules that bring packets to them.

The rules are installed once all engines are ready, checked, and removed. Each engine has a guardian of its own that
knows the rules: when an engine dies or hangs, its packets go on and the rules are removed. An engine that ends, in
whatever way, ends the others, because the kernel would go on sending packets to its queue.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, TypeVar

import trio

from shaper.core.failure import Failure
from shaper.errors import ShaperError
from shaper.linux.netns import Namespace
from shaper.live.connmark import free_mark
from shaper.live.front.forkserver import ForkServer
from shaper.live.front.interfaces import Interfaces, indices
from shaper.live.front.results import Result, packets_received
from shaper.live.front.unmatched import UNMATCHED_AFTER, nothing_matched, passed
from shaper.live.front.worker import Worker
from shaper.live.nfqueue.numbers import first_number, numbered
from shaper.live.notices import Notices
from shaper.live.nursery import ungrouped
from shaper.live.progress import Progress
from shaper.live.rules.rules import Match, Rules
from shaper.live.rules.ruleset import RULES_INTERVAL, RulesState
from shaper.live.settings import Settings
from shaper.live.ticks import next_tick
from shaper.places.cgroup import served
from shaper.units import s

PATIENCE = 10
"""An engine that doesn't answer for this many times the watchdog is killed; its guardian lets the packets go on."""
Value = TypeVar("Value")


class Engines:
    """One engine or several, which are forked at once: by `server`, or else here, before trio runs.

    Args:
        settings: what and how; there must be a watchdog.
        workers: how many engines, one at least.
        cpus: one for each engine to stay on; empty for any.
        failed, warned: see `session.shape`.
        namespace: where they work; None for this process's network namespace. It is closed at the end.
        server: forks them; None if this process does.

    Attributes:
        rules: what brings the packets, once a queue is bound; None with `install_rules` off.
        rules_lost: how often another program removed some of them.
        bypassed: packets that they matched and that were never taken, as far as was seen.
        left: packets of connections that have left the queue.
        interfaces: those that are shaped, and how often they went away.
    """

    rules: Rules | None = None
    rules_lost = bypassed = left = 0

    def __init__(
        self,
        settings: Settings,
        workers: int,
        cpus: Sequence[int],
        failed: Callable[[Failure], None],
        warned: Callable[[str], None],
        namespace: Namespace | None = None,
        server: ForkServer | None = None,
    ) -> None:
        self._settings, self._match = settings, settings.match
        self._namespace = namespace
        self._warned = warned
        self._notices = Notices(failed, warned)
        self._first = self._here(first_number, settings.queue, workers)
        self._started = 0
        self._matched_before = 0  # packets counted by rules that were lost
        self._left_before = 0  # packets of connections that had left, when others last did
        self._changing = trio.Lock()  # the mark that the rules ask for
        self._unmatched_after: int | None = UNMATCHED_AFTER * s
        self._passed_before: dict[str, int] = {}
        self.interfaces = Interfaces(self._match.interfaces, self._here(indices))
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
            order = (name, its_own, self._rules_of, failed, warned, self.stop, self._workers)
            descriptor = namespace.fileno() if namespace is not None else None
            self._workers.append(Worker(*order, descriptor, server))

    def _here(self, function: Callable[..., Value], *arguments: Any) -> Value:
        """Call this in the engines' network namespace."""
        if self._namespace is None:
            return function(*arguments)
        value: Value = self._namespace.call(function, *arguments)
        return value

    async def _there(self, function: Callable[..., Value], *arguments: Any) -> Value:
        """Call this in another thread and the engines' network namespace."""
        return await trio.to_thread.run_sync(self._here, function, *arguments)

    def _rules_of(self, queue: int) -> Rules | None:
        """The rules, now that an engine has bound a queue."""
        if len(self._workers) == 1:
            self._first = queue
        if self.rules is None and self._error is None and self._settings.install_rules:
            try:
                mark = self._here(free_mark) if self._settings.connmark else 0
                self.rules = self._here(self._rules, self._match, mark)
            except ShaperError as error:
                self._error = error
                self.stop()
        return self.rules

    def _rules(self, match: Match, mark: int) -> Rules:
        return Rules(match, self._first, len(self._workers), mark=mark)

    @property
    def queues(self) -> str:
        """The numbers of the queues, in words."""
        return numbered(self._first, len(self._workers))

    @property
    def queue_numbers(self) -> list[int]:
        """The numbers of all queues; with only one, and no --queue, right once it is bound."""
        return list(range(self._first, self._first + len(self._workers)))

    @property
    def is_stopping(self) -> bool:
        """Whether they are to end."""
        return self._stop.is_set()

    def stop(self) -> None:
        """End them in order; returns at once."""
        self._stop.set()

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

    async def change(self, number: int, change: dict[str, Any]) -> None:
        """Change all engines, or none.

        Args:
            number: of the change; each has another one.
            change: what, and its arguments, see requests.py.

        Raises:
            UsageError: one of them can't, so none has changed.
            RulesError: connections that have left the queue can't be brought back, so none has changed.
        """
        try:
            await self.ask("prepare", number=number, change=change)
            if self.rules is not None and self.rules.mark and change["what"] != "release":
                # First, so that no connection gets the new mark by the old policies.
                async with self._changing:
                    await self._bring_back(self.rules)
        except ShaperError:
            with suppress(ShaperError):
                await self.ask("give_up", number=number)
            raise
        with trio.CancelScope(shield=True):
            await self.ask("commit", number=number, mark=self.rules.mark if self.rules is not None else 0)

    async def _bring_back(self, rules: Rules) -> None:
        """Bring connections that have left to the queue again, if the rules are in the kernel."""
        if self._started:
            await self._look(rules)
            await self._there(rules.bring_back, await self._there(free_mark))
            self._left_before = self.left

    async def run(self, ready: Callable[[], Any], started: Callable[[], None]) -> None:
        """Shape until `stop` is called or an engine has ended.

        Args:
            ready: called, and awaited, once the queues are bound, before packets come.
            started: called once packets are shaped.

        Raises:
            RulesError: the rules can't be set or removed.
            ShaperError: an engine has not ended in order; UsageError or TakenOver if that is what ended it.
        """
        try:
            with ungrouped():
                async with trio.open_nursery() as nursery:
                    for worker in self._workers:
                        nursery.start_soon(self._listen, worker)
                    try:
                        await self._until_ready()
                        if not self._stop.is_set():
                            await ready()
                            self._started = time.monotonic_ns()
                            if self.rules is not None:
                                self._passed_before = self._here(passed)
                                self._here(self.rules.install)
                            started()
                            for name in self.interfaces.missing if self.rules is not None else ():
                                self._warned(f"there is no interface {name} yet; it is shaped when it comes")
                            await self._until_stopped()
                    finally:
                        self.stop()
                        with trio.CancelScope(shield=True):
                            await self._finish()
        finally:
            if self._namespace is not None:
                self._namespace.close()
        if self._error is not None:
            raise self._error
        for worker in self._workers:
            worker.check()

    async def _listen(self, worker: Worker) -> None:
        await worker.listen()
        self.stop()

    async def _until_ready(self) -> None:
        """Wait until all engines are ready, or have to end."""
        async with trio.open_nursery() as nursery:

            async def give_up() -> None:
                await self._stop.wait()
                nursery.cancel_scope.cancel()

            nursery.start_soon(give_up)
            for worker in self._workers:
                await worker.ready.wait()
            nursery.cancel_scope.cancel()

    async def _until_stopped(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch_rules)
            await self._stop.wait()
            nursery.cancel_scope.cancel()

    async def _watch_rules(self) -> None:
        """Restore the rules when another program has removed some, or end the run; count."""
        while self.rules is not None:
            await next_tick(RULES_INTERVAL)
            async with self._changing:
                seen = await self._look(self.rules)
            if self._stop.is_set():
                return  # perhaps an engine has detached them
            for change in self.interfaces.look(await self._there(indices)):
                self._warned(change)
            await self._see_unmatched(self._matched_before + seen.packets + seen.left)
            if seen.whole:
                await self._see_bypassed(seen.packets)
                if not await self._see_services(self.rules):
                    self.stop()
                    return
                continue
            self.rules_lost += 1
            if self._settings.on_rules_lost == "stop" or not await self._restore(self.rules):
                self.stop()
                return
            self._notices.rules_lost(self.rules_lost)

    async def _see_unmatched(self, matched: int) -> None:
        """Say so, once, when no packet has matched for some time."""
        if matched:
            self._unmatched_after = None
        elif self._unmatched_after is not None and time.monotonic_ns() - self._started > self._unmatched_after:
            self._unmatched_after = None
            self._warned(await self._there(nothing_matched, self._settings.match, self._passed_before))

    async def _see_bypassed(self, matched: int) -> None:
        """Count what the rules matched beyond the packets received, unless the engines have other things to do."""
        with trio.move_on_after(RULES_INTERVAL / s), suppress(ShaperError):
            received = [await worker.ask("count") for worker in self._workers]
            if None not in received:
                self._count_bypassed(matched, sum(received))

    async def _see_services(self, rules: Rules) -> bool:
        """Set other rules when the control group has servers at other ports; False as from `_restore`."""
        if self._match.cgroup is None:
            return True
        with suppress(OSError):  # the group is gone, which somebody else notices
            now = await self._there(served, self._match.cgroup)
            if now != self._match.served:
                self._match = replace(self._match, served=now)
                self.rules = await self._there(self._rules, self._match, rules.mark)
                return await self._restore(rules)
        return True

    async def _restore(self, rules: Rules) -> bool:
        """Set `rules` again, or what has replaced these.

        Returns False if an engine doesn't answer, for then its guardian has removed them.
        """
        await self._there(rules.detach)
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
        self._count_bypassed((await self._look(rules)).packets, received)
        self._matched_before = received + self.bypassed
        self._left_before = self.left
        if self.rules is not None:
            await self._there(self.rules.restore)
        return True

    def _count_bypassed(self, matched: int, received: int) -> None:
        """Count what the rules matched beyond the packets received."""
        self.bypassed = max(self.bypassed, self._matched_before + matched - received)

    async def _look(self, rules: Rules) -> RulesState:
        """See what the rules have counted, and count the packets of connections that have left the queue."""
        seen: RulesState = await self._there(rules.look)
        self.left = max(self.left, self._left_before + seen.left)
        return seen

    @property
    def _patience(self) -> float:
        """How long to wait for a worker, in seconds."""
        assert self._settings.watchdog is not None
        return PATIENCE * self._settings.watchdog / s

    async def _finish(self) -> None:
        """Let all engines send on what they hold, and leave nothing behind."""
        try:
            if self.rules is not None:
                # They bring no more packets, but their counters can still be read.
                await self._there(self.rules.detach)
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
                    seen = await self._look(self.rules)
                    self._count_bypassed(seen.packets, packets_received(self.results()))
                finally:
                    await self._there(self.rules.remove)

    async def _until_all_ended(self) -> None:
        for worker in self._workers:
            await worker.ended.wait()

    def results(self) -> list[Result]:
        """The counts of those that have ended in order."""
        return [worker.result for worker in self._workers if worker.result is not None]

    def progress(self) -> Progress:
        """The state that they last reported, added up."""
        now = Progress.of_all([worker.progress for worker in self._workers])
        return now._replace(bypassed=max(now.bypassed, self.bypassed))


def _flat(errors: BaseExceptionGroup[ShaperError]) -> Iterator[ShaperError]:
    """The errors in groups of groups, one after the other."""
    for error in errors.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _flat(error)
        else:
            yield error
