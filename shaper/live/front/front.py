"""The front: the process of `shaper start`. Engines shape for it, one process for each queue.

It adds up the engines' results, and can be looked at and changed (see control.py). It sees no packet, and runs no hook
of a policy. When it dies, the engines end in order and remove the rules.

A place that is named, such as a container, may go and come back, as another network namespace. Then the engines end,
and others begin where it is now, with the pipeline as it was changed meanwhile. The front itself is in none of these
namespaces, so that it keeps none of them alive.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import trio

from shaper.core.failure import Failure
from shaper.errors import ShaperError
from shaper.linux.netns import Namespace
from shaper.live.front.changes import Changes
from shaper.live.front.engines import Engines
from shaper.live.front.follow import until_gone, until_there
from shaper.live.front.forkserver import ForkServer
from shaper.live.front.results import Result, merged, of_gone
from shaper.live.nursery import ungrouped
from shaper.live.progress import Progress
from shaper.live.rules.rules import Match, Rules
from shaper.live.settings import Settings
from shaper.live.state import Kind, time_of_day
from shaper.live.summary import Summary
from shaper.places.place import Found, Place
from shaper.units import s

BEHIND_ENGINES = 5
"""By how much its nice value is above theirs: nobody who looks is to keep a packet waiting."""


class Front:
    """A run. Without a place its engines are forked at once, so make it before trio runs.

    Args:
        settings: what, how, how long; there must be a watchdog.
        workers: how many engines, one at least.
        cpus: one for each engine to stay on; empty for any.
        failed, warned: see `session.shape`.
        place: where the packets are; None for this network namespace.

    Attributes:
        settings: how it was started.
        place: as given.
        match: which packets are shaped, as far as the place decides that.
        began: when packets were shaped first, as RFC 3339 writes a time.
        listeners: called when something happens, see `shaper.live.state.Event`.
    """

    def __init__(
        self,
        settings: Settings,
        workers: int,
        cpus: Sequence[int],
        failed: Callable[[Failure], None],
        warned: Callable[[str], None],
        place: Place | None = None,
    ) -> None:
        self.settings, self.place = settings, place
        self._workers, self._cpus = workers, cpus
        self.began = ""
        self.listeners: list[Callable[[Kind, dict[str, Any]], None]] = []
        self._failed, self._warned = failed, warned
        self._started = time.monotonic_ns()
        self._stop = trio.Event()
        self._past: list[Result] = []  # of engines that have ended
        self._past_progress = Progress()
        self._bypassed = self._left = self._rules_lost = 0  # with those
        self._interfaces_gone: Counter[str] = Counter()
        self._changes, self._numbers = Changes(), count(1)
        self.match = settings.match
        self._is_gone = False  # while the engines end because the place is
        self._waiting = trio.CancelScope()  # for it
        self._first_steps: Iterator[Callable[[], None]] = iter(())
        self._engines: Engines | None = None
        self._server: ForkServer | None = None
        if place is None:
            self._engines = self._new_engines(settings)
        else:
            self._server = ForkServer(settings)

    def _new_engines(self, settings: Settings, namespace: Namespace | None = None) -> Engines:
        order = (settings, self._workers, self._cpus, self._report_failure, self._report_warning)
        return Engines(*order, namespace, self._server)

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
    def rules(self) -> Rules | None:
        """What brings the packets now; None with `install_rules` off, or while it waits."""
        return self._engines.rules if self._engines is not None else None

    @property
    def first_queue(self) -> int:
        """The number of the first queue; with only one, and no --queue, known once it is bound. 0 while it waits."""
        return self.queue_numbers[0] if self._engines is not None else 0

    @property
    def queue_numbers(self) -> list[int]:
        """The numbers of all queues; none while it waits."""
        return self._engines.queue_numbers if self._engines is not None else []

    @property
    def queues(self) -> str:
        """The numbers of the queues, in words."""
        return self._engines.queues if self._engines is not None else "no queue"

    @property
    def shapes(self) -> str:
        """Which packets, in words."""
        packets = described(self.match) if self.settings.install_rules else "what your rules bring"
        return packets if self.place is None else f"{self.place.name}: {packets}"

    @property
    def specs(self) -> Sequence[str]:
        """The SPECs in force, as far as they were replaced as a whole."""
        return self._changes.specs or self.settings.specs

    @property
    def is_stopping(self) -> bool:
        """Whether the run is to end."""
        return self._stop.is_set()

    @property
    def is_waiting(self) -> bool:
        """Whether the place is gone, so that nothing is shaped."""
        return self._engines is None

    async def ask(self, what: str, **arguments: Any) -> list[Any]:
        """Ask all engines the same, at the same time; their answers, in order.

        Raises:
            UsageError, ShaperError: what the first one to answer so says is wrong.
            ShaperError: one of them has ended, or doesn't answer; there is none, as the place is gone.
        """
        return await self._present.ask(what, **arguments)

    @property
    def _present(self) -> Engines:
        if self._engines is None:
            if self.place is not None and not self.is_stopping:
                raise ShaperError(f"nothing is shaped while {self.place.name} isn't there")
            raise ShaperError("the run has ended")
        return self._engines

    async def change(self, **change: Any) -> None:
        """Change all engines, or none; those that follow them in another place are changed likewise.

        Args:
            change: `what`, and its arguments, see requests.py.

        Raises:
            UsageError: one of them can't, so none has changed.
            ShaperError: see `ask`.
        """
        await self._present.change(next(self._numbers), change)
        self._changes.add(change)

    def stop(self) -> None:
        """End the run in order; returns at once."""
        if not self._stop.is_set():
            self.tell("state", state="stopping")
        self._stop.set()
        self._waiting.cancel()
        if self._engines is not None:
            self._engines.stop()

    async def run(
        self, ready: Callable[[], None] = lambda: None, started: Callable[[], None] = lambda: None
    ) -> Summary:
        """Shape until `stop` is called, for as long as the settings say, or until an engine has ended.

        Args:
            ready: called once the queues are bound, before packets come, or when the place isn't there yet.
            started: called once packets are shaped, or when the place isn't there yet.

        Raises:
            RulesError: the rules can't be set or removed.
            UsageError: there is nothing of the place's name, or nothing to shape there.
            ShaperError: an engine has not ended in order; UsageError or TakenOver if that is what ended it.
        """

        async def end_in_time() -> None:
            if self.settings.duration is not None:
                await trio.sleep(self.settings.duration / s)
                self.stop()

        def begin() -> None:
            self.began = time_of_day()
            self._started = time.monotonic_ns()
            self._make_way()
            started()
            nursery.start_soon(end_in_time)

        self._first_steps = iter((ready, begin))
        try:
            with ungrouped():
                async with trio.open_nursery() as nursery:
                    try:
                        if self.place is None:
                            await self._shape(self._present)
                        else:
                            await self._follow(self.place)
                    finally:
                        self.stop()
                    nursery.cancel_scope.cancel()
        finally:
            if self._server is not None:
                self._server.close()
        return self.summary_of(())

    def _make_way(self) -> None:
        """Let the engines run before this process, and leave them the CPUs that they stay on."""
        os.nice(BEHIND_ENGINES)
        if others := os.sched_getaffinity(0).difference(self._cpus):
            os.sched_setaffinity(0, others)

    async def _shape(self, engines: Engines) -> None:
        """Shape until these engines end, and keep their counts."""

        async def ready() -> None:
            for change in self._changes:
                await engines.change(next(self._numbers), change)
            self._step()

        def started() -> None:
            if self.began and self.place is not None:
                message = f"{self.place.name} is there; shaping {described(self.match)}"
                self.tell("state", state="shaping", message=message)
            self._step()

        try:
            await engines.run(ready, started)
        finally:
            progress, results = engines.progress(), engines.results()
            self._engines = None
            self._past += map(of_gone, results) if self._is_gone else results
            self._past_progress = Progress.of_all([self._past_progress, progress._replace(held=0, late=0)])
            self._bypassed += engines.bypassed
            self._left += engines.left
            self._rules_lost += engines.rules_lost
            self._interfaces_gone += engines.interfaces.gone

    def _step(self) -> None:
        """Take the next of the first steps; those of later engines do nothing."""
        next(self._first_steps, lambda: None)()

    async def _follow(self, place: Place) -> None:
        """Shape where the place is, again and again.

        Raises:
            UsageError: there is nothing of its name, or nothing to shape there.
        """
        for nth in count(1):
            spot = None
            with trio.CancelScope() as self._waiting:
                spot = await until_there(place, self.settings.match, self._say_that_it_waits, is_known=nth > 1)
            if spot is None:
                return
            self.match = spot.match
            settings = replace(self.settings, match=spot.match, elapsed=self._elapsed())
            engines = self._engines = self._new_engines(_numbered(settings, nth), spot.namespace)
            self._is_gone, self._gone_with_it = False, 0
            try:
                with ungrouped():
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(self._end_when_gone, spot.found, engines)
                        await self._shape(engines)
                        nursery.cancel_scope.cancel()
            except ShaperError:
                # An engine may have failed because it is gone, before that was seen.
                if spot.found.is_there():
                    raise
                self._is_gone = True
            if self._is_gone:
                self._say_that_it_is_gone(place)
            if not self._is_gone or place.ends or self._stop.is_set():
                return

    def _say_that_it_waits(self, why: str) -> None:
        """Say that the place isn't there, unless it was said that it is gone."""
        is_first = not self.began
        if is_first:
            self._step()
            self._step()
        if (is_first or why) and self.place is not None:
            message = f"waiting for {self.place.name}{why and ': '}{why}"
            self.tell("state", state="waiting", message=message)

    def _say_that_it_is_gone(self, place: Place) -> None:
        with_it = f", and {self._gone_with_it} packets that were held went with it" if self._gone_with_it else ""
        waits = "" if place.ends else "; waiting for it"
        self.tell("state", state="waiting", message=f"{place.name} is gone{with_it}{waits}")

    async def _end_when_gone(self, found: Found, engines: Engines) -> None:
        await until_gone(found)
        self._is_gone = True
        with suppress(ShaperError):
            self._gone_with_it = sum(look["held"] for look in await engines.ask("look"))
        engines.stop()

    def _elapsed(self) -> int:
        return time.monotonic_ns() - self._started if self.began else 0

    async def count(self) -> None:
        """Bring `progress` up to date where the rules are somebody else's; else that is done once a second."""
        if self._engines is not None and self._engines.rules is None:
            with suppress(ShaperError):  # one of them ends
                await self._engines.ask("count")

    def progress(self) -> Progress:
        """The state that the engines last reported, added up, with those that have ended."""
        if self._engines is None:
            return self._past_progress
        return Progress.of_all([self._past_progress, self._engines.progress()])

    def summary_of(self, results: Sequence[Result]) -> Summary:
        """Counts, losses and holds, as the engines reported them, with those that have ended."""
        now = self._engines
        bypassed = self._bypassed + (now.bypassed if now is not None else 0)
        summary = merged(
            [*self._past, *results],
            bypassed=bypassed if self.settings.install_rules else None,
            left=self._left + (now.left if now is not None else 0),
            rules_lost=self._rules_lost + (now.rules_lost if now is not None else 0),
            duration=time.monotonic_ns() - self._started,
            allow=self.settings.allow_bypass,
        )
        gone = now.interfaces.gone if now is not None else Counter[str]()
        return replace(summary, interfaces_gone=self._interfaces_gone + gone)


def described(match: Match) -> str:
    """Which packets match, in words: "input packets of lo, tcp, port 443"."""
    ports = ", ".join(map(str, match.ports))
    parts = (
        match.where,
        match.protocol if match.protocol != "all" else "",
        f"port{'s' * (len(match.ports) > 1)} {ports}" if ports else "",
        f"from {match.source}" if match.source else "",
        f"to {match.destination}" if match.destination else "",
        f"from or to {match.host}" if match.host else "",
        f"filter {match.filter}" if match.filter else "",
    )
    return ", ".join(filter(None, parts))


def _numbered(settings: Settings, nth: int) -> Settings:
    """With files of their own from the second place in a row on, such as `journal.2.jsonl`."""
    if nth == 1:
        return settings

    def its_own(path: Path) -> Path:
        return path.with_name(f"{path.stem}.{nth}{path.suffix}")

    captures = tuple(capture._replace(path=its_own(capture.path)) for capture in settings.captures)
    return replace(settings, journal=settings.journal and its_own(settings.journal), captures=captures)
