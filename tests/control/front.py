"""A front for tests: a real core with packets made up in real time, instead of engines and a kernel."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, Literal

import trio

from shaper.core.core import Core
from shaper.core.verdict import Verdict
from shaper.live.state import Event, Flow, Histogram, Latency, Meters, NoSuchStage, PacketCount, Stage, Status
from shaper.policy.base import Policy
from shaper.policy.options import options_of
from shaper.spec.load import LoadError, expand, load_pipeline, split_spec
from shaper.timeline.packet_spec import Ends, PacketSpec, bytes_of
from shaper.units import s
from shaper.wire.header import ACK, PSH
from shaper.wire.packet import Packet

BOUNDS = [1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0]
CLIENTS = [Ends(f"10.0.0.{host}", 40000 + host, "10.0.0.100", 443) for host in range(1, 9)]
STEP = 0.005
"""Seconds between two looks at the clock."""


def now_text() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")


class Front:
    """Fulfils `Controlled`.

    Args:
        specs: the pipeline.
        rate: packets per second once `run` is started.
    """

    def __init__(self, specs: Sequence[str] = ("delay:20ms", "loss:1%"), *, name: str = "0", rate: int = 200) -> None:
        self.name, self.rate = name, rate
        self.stopped = trio.Event()
        self.specs = expand(specs)
        self._core = Core(load_pipeline(self.specs))
        self._prototypes: tuple[Policy, ...] = load_pipeline(self.specs)
        self._state: Literal["shaping", "paused", "stopping"] = "shaping"
        self._started = now_text()
        self._flows: dict[str, Counter[str]] = {}
        self._holds: list[float] = []
        self._late = [0.0]
        self._readers: list[tuple[trio.MemorySendChannel[Event], int]] = []
        self._number = 0

    async def run(self) -> None:
        """Shape made-up packets until cancelled."""
        begin = time.monotonic()
        while True:
            await trio.sleep(STEP)
            while self._number < (time.monotonic() - begin) * self.rate:
                self._take()
            self._answer(self._core.due(time.monotonic_ns()))

    def _take(self) -> None:
        self._number += 1
        ends = CLIENTS[self._number * self._number % len(CLIENTS)]
        ends = ends.reverse if self._number % 3 else ends
        payload = self._number % 2 * 1448
        spec = PacketSpec("tcp", payload, ACK | PSH, self._number, 1, 65535)
        packet = Packet(bytes_of(spec, ends, self._number), self._number, time.monotonic_ns())
        flow = self._flows.setdefault(str(packet.flow), Counter())
        flow["packets"] += 1
        flow["held"] += 1
        flow["bytes"] += len(packet.raw)
        flow["class data" if payload else "class pure-ack"] += 1
        flow["reply"] = self._number % 3 and 1
        self._core.receive(packet, packet.arrived)

    def _answer(self, verdicts: Sequence[Verdict]) -> None:
        now = time.monotonic_ns()
        for verdict in verdicts:
            if verdict.fate == "injected":
                continue
            root = verdict.packet.root  # as it came: a policy may have given the packet other addresses or ports
            flow = self._flows[str(root.flow)]
            flow["held"] -= 1
            flow["dropped"] += verdict.fate == "dropped"
            hold, late = (now - root.arrived) / s, (now - verdict.planned) / s
            flow["hold us"] += round(hold * 1e6)
            self._holds.append(hold)
            self._late = [*self._late[-999:], late]
            if self._number % 20 == 0:
                packet = {"flow": str(root.flow), "fate": verdict.fate, "hold_ms": hold * 1e3}
                self.tell("packet", packet)

    def tell(self, kind: Literal["packet", "change", "warning", "failure", "state"], data: dict[str, Any]) -> None:
        """Give an event to all readers."""
        for channel, packets_per_second in self._readers:
            if kind != "packet" or packets_per_second:
                try:
                    channel.send_nowait(Event(kind, now_text(), data))
                except (trio.WouldBlock, trio.BrokenResourceError):
                    continue

    async def status(self) -> Status:
        await trio.lowlevel.checkpoint()
        counts, late = self._core.counts, sorted(self._late)
        return Status(
            name=self.name,
            version="0.1.0",
            pid=1,
            state=self._state,
            started=self._started,
            shapes="input packets of lo, tcp, port 443",
            queues=[0],
            policies=self.specs,
            scenario="",
            phase=0,
            held=counts.held,
            taken=counts.taken,
            sent=counts.sent,
            dropped=counts.dropped,
            injected=counts.injected,
            bypassed=0,
            late_us=Latency(*(late[int(share * (len(late) - 1))] * 1e6 for share in (0.5, 0.99, 1))),
            summary={},
        )

    async def pipeline(self) -> list[Stage]:
        await trio.lowlevel.checkpoint()
        stages = self._core.stages
        return [
            Stage(
                name=name,
                spec=spec,
                options={
                    option.name: option.format(getattr(policy, option.name))
                    for option in options_of(type(policy)).values()
                },
                held=self._core.counts.taken,
                dropped=stages[name].dropped if name in stages else 0,
                injected=0,
            )
            for name, spec, policy in zip(self._names(), self.specs, self._prototypes, strict=True)
        ]

    def _names(self) -> list[str]:
        names: list[str] = []
        for spec in self.specs:
            head = split_spec(spec)[0]
            number = sum(name.partition("#")[0] == head for name in names)
            names.append(f"{head}#{number + 1}" if number else head)
        return names

    async def replace(self, specs: Sequence[str]) -> list[Stage]:
        await trio.lowlevel.checkpoint()
        if not specs:
            raise LoadError("a pipeline needs a policy; pass_through does nothing")
        self._load(expand(specs))
        self.tell("change", {"what": "replace", "policies": list(specs)})
        return await self.pipeline()

    async def change(self, stage: str, options: Mapping[str, str]) -> Stage:
        await trio.lowlevel.checkpoint()
        if stage not in self._names():
            raise NoSuchStage(f"there is no stage '{stage}'; there is {', '.join(self._names())}")
        place = self._names().index(stage)
        known = {
            option.name: option.format(getattr(self._prototypes[place], option.name))
            for option in options_of(type(self._prototypes[place])).values()
            if getattr(self._prototypes[place], option.name) != option.default
        }
        head, given = split_spec(self.specs[place])[0], {**known, **options}
        spec = head + ":" * bool(given) + ",".join(f'{name}="{value}"' for name, value in given.items())
        self._load([*self.specs[:place], spec.replace('""', ""), *self.specs[place + 1 :]])
        self.tell("change", {"what": "change", "stage": stage, "options": dict(options)})
        return (await self.pipeline())[place]

    def _load(self, specs: list[str]) -> None:
        prototypes = load_pipeline(specs)
        self._core.replace(prototypes, time.monotonic_ns())
        self.specs, self._prototypes = specs, prototypes

    async def pause(self) -> Status:
        if self._state == "shaping":
            self._core.replace(load_pipeline(["pass_through"]), time.monotonic_ns())
        return await self._become("paused")

    async def resume(self) -> Status:
        self._core.replace(self._prototypes, time.monotonic_ns())
        return await self._become("shaping")

    async def _become(self, state: Literal["shaping", "paused"]) -> Status:
        self._state = state
        self.tell("state", {"state": state})
        return await self.status()

    async def release(self) -> Status:
        self.tell("change", {"what": "release"})
        return await self.status()

    async def flows(self, limit: int = 100) -> list[Flow]:
        await trio.lowlevel.checkpoint()
        found = [
            Flow(
                flow=flow,
                direction="reply" if counts["reply"] else "original",
                packets=counts["packets"],
                bytes=counts["bytes"],
                held=counts["held"],
                dropped=counts["dropped"],
                classes={name[6:]: count for name, count in counts.items() if name.startswith("class ")},
                repeats=0,
                hold_ms=counts["hold us"] / 1e3 / max(1, counts["packets"] - counts["held"]),
                worker=0,
            )
            for flow, counts in self._flows.items()
        ]
        return sorted(found, key=lambda flow: (flow.held, flow.packets), reverse=True)[:limit]

    @asynccontextmanager
    async def events(self, *, packets_per_second: int = 100) -> AsyncIterator[trio.MemoryReceiveChannel[Event]]:
        send, receive = trio.open_memory_channel[Event](100)
        self._readers.append((send, packets_per_second))
        try:
            async with receive:
                yield receive
        finally:
            self._readers.remove((send, packets_per_second))

    @property
    def readers(self) -> int:
        """How many read events."""
        return len(self._readers)

    async def meters(self) -> Meters:
        await trio.lowlevel.checkpoint()
        counts = self._core.counts
        return Meters(
            packets=[
                PacketCount("sent", "", "original", "data", counts.sent),
                PacketCount("dropped", "loss", "original", "data", counts.dropped),
            ],
            held=counts.held,
            hold=_histogram(self._holds),
            lateness=_histogram(self._late),
            bypassed=0,
            lost={"queue_full": 0, "buffer_full": 0, "reload": 0},
            failures=0,
        )

    def stop(self) -> None:
        self._state = "stopping"
        self.stopped.set()


def _histogram(times: Sequence[float]) -> Histogram:
    counts = [0] * (len(BOUNDS) + 1)
    for one in times:
        counts[sum(bound < one for bound in BOUNDS)] += 1
    return Histogram(BOUNDS, counts, sum(times))


def as_json(status: Status) -> dict[str, Any]:
    """What the API says of it."""
    return asdict(status)
