"""How a run is looked at and changed while it goes on: the front's answers, for all its engines together."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from importlib.metadata import version
from math import ceil, inf
from typing import TYPE_CHECKING, Any, Literal

import trio

from shaper.errors import ShaperError
from shaper.live.front.requests import loaded
from shaper.live.meter import BOUNDS
from shaper.live.state import (
    Event,
    Flow,
    Histogram,
    Kind,
    Latency,
    Meters,
    NoSuchStage,
    PacketCount,
    Stage,
    Status,
    time_of_day,
)
from shaper.report.quantiles import Quantiles
from shaper.units import s, us

if TYPE_CHECKING:
    from shaper.live.front.front import Front

WAITING_EVENTS = 1000
"""Events that wait for a reader; when there are more, it loses some."""
FRESH = 0.02
"""Seconds for which one look at the engines is enough for all who ask."""
SAMPLING_INTERVAL = 0.1
"""Seconds between two samples of the packets."""

Look = Mapping[str, Any]
"""What one engine says of itself, see requests.py."""


class Control:
    """Fulfils `shaper.live.state.Controlled`.

    Args:
        front: whose run it is.
        name: what it is called; empty for the number of the first queue.
    """

    def __init__(self, front: Front, name: str = "") -> None:
        self._front = front
        self.name = name or str(front.first_queue)
        self._changing, self._looking = trio.Lock(), trio.Lock()
        self._looked: tuple[float, Sequence[Look]] = (-inf, ())
        self._readers: dict[trio.MemorySendChannel[Event], int] = {}  # with the packets a second that each wants
        self._is_read = trio.Event()
        front.listeners.append(self._happened)

    def stop(self) -> None:
        """End the run in order; returns at once."""
        self._front.stop()

    async def status(self) -> Status:
        """See `Controlled`."""
        if self._front.is_waiting:
            return self._status(())
        return self._status(await self._looks())

    async def _looks(self) -> Sequence[Look]:
        """What the engines say of themselves, not long ago and after the last change."""
        async with self._looking:
            if trio.current_time() - self._looked[0] > FRESH:
                looks = await self._front.ask("look")
                self._looked = trio.current_time(), looks
            return self._looked[1]

    def _status(self, looks: Sequence[Look]) -> Status:
        front = self._front
        summary = front.summary_of([look["result"] for look in looks])
        late = Quantiles.of([lateness for look in looks for lateness in look["late"]])
        return Status(
            name=self.name,
            version=version("nfq-shaper"),
            pid=os.getpid(),
            state=_state(front, looks),
            started=front.began,
            shapes=front.shapes,
            queues=front.queue_numbers,
            policies=list(looks[0]["specs"]) if looks else list(front.specs),
            scenario=front.settings.profile if looks and looks[0]["phase"] else "",
            phase=looks[0]["phase"] if looks else 0,
            held=sum(look["held"] for look in looks),
            taken=summary.taken,
            sent=summary.sent,
            dropped=summary.dropped,
            injected=summary.injected,
            bypassed=summary.bypassed,
            late_us=Latency(late.p50 / us, late.p99 / us, late.max / us) if late.packets else None,
            summary=summary.to_json(),
        )

    async def pipeline(self) -> list[Stage]:
        """See `Controlled`."""
        return [] if self._front.is_waiting else _stages(await self._looks())

    async def replace(self, specs: Sequence[str]) -> list[Stage]:
        """See `Controlled`."""
        # Here first, so that no mistake gets near a packet.
        await loaded(specs, self._front.settings.max_hold)
        await self._change(what="replace", specs=list(specs))
        return await self.pipeline()

    async def change(self, stage: str, options: Mapping[str, str]) -> Stage:
        """See `Controlled`."""
        names = [each.name for each in await self.pipeline()]
        if stage not in names:
            raise NoSuchStage(f"there is no stage '{stage}'; there is {', '.join(names) or 'none'}")
        await self._change(what="change", stage=stage, options=dict(options))
        found = [each for each in await self.pipeline() if each.name == stage]
        if not found:
            raise NoSuchStage(f"there is no stage '{stage}' any more")
        return found[0]

    async def pause(self) -> Status:
        """See `Controlled`."""
        return await self._simple("pause")

    async def resume(self) -> Status:
        """See `Controlled`."""
        return await self._simple("resume")

    async def release(self) -> Status:
        """See `Controlled`."""
        return await self._simple("release")

    async def _simple(self, what: str) -> Status:
        await self._change(what=what)
        status = await self.status()
        if what != "release":
            self._front.tell("state", state=status.state)
        return status

    async def _change(self, **change: Any) -> None:
        """Change all engines, or none.

        Raises:
            UsageError: one of them can't, so none has changed.
        """
        async with self._changing:
            await self._front.change(**change)
            async with self._looking:
                self._looked = (-inf, ())
        told = dict(change)
        if "specs" in told:
            told["policies"] = told.pop("specs")
        self._front.tell("change", **told)

    async def flows(self, limit: int = 100) -> list[Flow]:
        """See `Controlled`."""
        answers = await self._front.ask("flows", limit=limit)
        flows = [Flow(worker=worker, **flow) for worker, answer in enumerate(answers) for flow in answer]
        return sorted(flows, key=lambda flow: (flow.held, flow.packets), reverse=True)[:limit]

    async def meters(self) -> Meters:
        """See `Controlled`."""
        is_there = not self._front.is_waiting
        measured = await self._front.ask("meter") if is_there else []
        looks = await self._looks() if is_there else ()
        summary = self._front.summary_of([look["result"] for look in looks])
        seen: Counter[tuple[str, str, str, str]] = Counter()
        for each in measured:
            for fate, policy, direction, kind, packets in each["packets"]:
                seen[fate, policy, direction, kind] += packets
        totals: Counter[tuple[str, str]] = Counter({("sent", ""): summary.sent})
        for name, use in summary.stages.items():
            totals["dropped", name] = use.dropped
            totals["injected", name] = use.injected
        for (fate, policy, *_), packets in seen.items():
            totals[fate, policy] -= packets
        # Those before somebody looked.
        for (fate, policy), packets in totals.items():
            if packets > 0:
                seen[fate, policy, "unknown", "unknown"] = packets
        lost = {
            "queue_full": summary.lost_queue_full or 0,
            "buffer_full": summary.lost_buffer_full or 0,
            "reload": summary.lost_to_reload,
        }
        return Meters(
            packets=[PacketCount(*key, packets) for key, packets in sorted(seen.items())],
            held=sum(look["held"] for look in looks),
            hold=_histogram(measured, "holds", "hold"),
            lateness=_histogram(measured, "latenesses", "lateness"),
            bypassed=summary.bypassed or 0,
            lost=lost,
            failures=summary.failures.total,
        )

    @asynccontextmanager
    async def events(self, *, packets_per_second: int = 100) -> AsyncIterator[trio.MemoryReceiveChannel[Event]]:
        """See `Controlled`."""
        sending, receiving = trio.open_memory_channel[Event](WAITING_EVENTS)
        with sending, receiving:
            self._readers[sending] = packets_per_second
            self._is_read.set()
            try:
                yield receiving
            finally:
                del self._readers[sending]

    async def run(self) -> None:
        """Ask for packets, as samples, while somebody wants them; until cancelled."""
        while True:
            await self._is_read.wait()
            self._is_read = trio.Event()
            while rate := max(self._readers.values(), default=0):
                with suppress(ShaperError):  # the run ends
                    await self._sample(ceil(rate * SAMPLING_INTERVAL))
                await trio.sleep(SAMPLING_INTERVAL)
            with suppress(ShaperError):
                await self._front.ask("samples", room=0)

    async def _sample(self, room: int) -> None:
        samples = [packet for answer in await self._front.ask("samples", room=room) for packet in answer]
        for reader, rate in list(self._readers.items()):
            for packet in samples[: ceil(rate * SAMPLING_INTERVAL)]:
                _give(reader, "packet", packet)

    def _happened(self, kind: Kind, data: dict[str, Any]) -> None:
        """Tell all who read events."""
        for reader in self._readers:
            _give(reader, kind, data)


def _give(reader: trio.MemorySendChannel[Event], kind: Kind, data: dict[str, Any]) -> None:
    with suppress(trio.WouldBlock, trio.BrokenResourceError):
        reader.send_nowait(Event(kind, time_of_day(), data))


def _state(front: Front, looks: Sequence[Look]) -> Literal["shaping", "paused", "waiting", "stopping"]:
    if front.is_stopping:
        return "stopping"
    if not looks:
        return "waiting"
    return "paused" if looks[0]["is_paused"] else "shaping"


def _stages(looks: Sequence[Look]) -> list[Stage]:
    """The stages of the first engine, with the counts of all."""
    stages = []
    for same in zip(*(look["stages"] for look in looks), strict=False):
        counters: Counter[str] = Counter()
        for each in same:
            counters.update(each["counters"])
        summed = {name: sum(each[name] for each in same) for name in ("held", "dropped", "injected")}
        stages.append(Stage(**{**same[0], **summed, "counters": dict(counters)}))
    return stages


def _histogram(measured: Sequence[Mapping[str, Any]], counts: str, total: str) -> Histogram:
    return Histogram(
        bounds_s=[bound / s for bound in BOUNDS],
        counts=[sum(each) for each in zip([0] * (len(BOUNDS) + 1), *(one[counts] for one in measured), strict=True)],
        sum_s=sum(one[total] for one in measured) / s,
    )
