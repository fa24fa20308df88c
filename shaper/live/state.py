"""The state of a run as others see it, and `Controlled`, the way in which they read and change it.

All of this is plain data, so that it can be written as JSON as it is. Each run of `shaper start` is controlled by its
front (see front.py), which answers for all its engines together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, Protocol

import trio

from shaper.errors import UsageError


def time_of_day() -> str:
    """Now, as RFC 3339 writes it, with microseconds."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


class NoSuchStage(UsageError):
    """The pipeline has no stage of this name."""


@dataclass(frozen=True)
class Stage:
    """One stage of the pipeline that is in force."""

    name: str
    """Such as `delay`, or `delay#2` for the second one."""
    spec: str
    """The policy and its options, as they were given."""
    options: dict[str, str]
    """All options of the policy and their values now, as text."""
    held: int
    """Packets that it held so far."""
    dropped: int
    """Packets that it dropped so far."""
    injected: int
    """Packets that it made so far and that went on."""
    counters: dict[str, int] = field(default_factory=dict)
    """What the policy has counted itself, see `Policy.tally`."""


@dataclass(frozen=True)
class Latency:
    """How late packets went on, in microseconds after their planned times."""

    p50: float
    """The median."""
    p99: float
    """99 % of the packets were no later than this."""
    max: float
    """The greatest."""


@dataclass(frozen=True)
class Status:
    """A run of `shaper start`, as a whole."""

    name: str
    """As `--name` gave it; if it didn't, the number of the first queue."""
    version: str
    """Of shaper."""
    pid: int
    """The process of the front."""
    state: Literal["shaping", "paused", "waiting", "stopping"]
    """While it is paused, packets pass at once. It waits while the place whose packets it shapes isn't there."""
    started: str
    """When packets were shaped first, as RFC 3339 writes a time."""
    shapes: str
    """Which packets, in words: "input packets of lo, tcp, port 443"."""
    queues: list[int]
    """The numbers of the queues."""
    policies: list[str]
    """The SPECs in force."""
    scenario: str
    """The profile whose phases follow each other; empty without one."""
    phase: int
    """Which of its phases is in force, from 1; 0 without a scenario."""
    held: int
    """Packets that wait now."""
    taken: int
    """Packets that came from the kernel so far."""
    sent: int
    """Those of `taken` that went on so far."""
    dropped: int
    """Those of `taken` that were dropped so far."""
    injected: int
    """Packets that policies made so far."""
    bypassed: int | None
    """Packets that matched but passed unshaped so far; None if the rules aren't ours."""
    late_us: Latency | None
    """How late packets went on in the last seconds; None if none went on."""
    summary: dict[str, Any]
    """What `--json` would write now."""


@dataclass(frozen=True)
class Flow:
    """A flow, in one direction, as far as it was seen since somebody first looked."""

    flow: str
    """Such as "10.0.0.1:5000 > 10.0.0.2:80 tcp"."""
    direction: Literal["original", "reply"]
    """From the one who began the connection, or to it."""
    packets: int
    """Packets taken."""
    bytes: int
    """Their bytes, IP headers included."""
    held: int
    """Packets that wait now."""
    dropped: int
    """Packets that were dropped."""
    classes: dict[str, int]
    """How many packets of each segment class were taken."""
    repeats: int
    """Data packets whose bytes had all been sent before."""
    hold_ms: float
    """The mean hold, in milliseconds, of the packets that went on."""
    worker: int
    """Which engine takes its packets, from 0."""


Kind = Literal["packet", "change", "warning", "failure", "state"]
"""A packet's fate (sampled), a change by somebody, a warning, a policy's failure, or another state of the run."""


@dataclass(frozen=True)
class Event:
    """Something that happened."""

    kind: Kind
    """What sort of event it is."""
    time: str
    """When, as RFC 3339 writes a time, with microseconds."""
    data: dict[str, Any]
    """A packet: as the journal has it. A change: what, and its arguments. A warning, a failure: `message`. A state:
    `state`."""


@dataclass(frozen=True)
class PacketCount:
    """How many packets of one kind had one fate."""

    fate: str
    """What became of them: sent, dropped, injected."""
    policy: str
    """The stage that dropped or made them; empty for those that were sent."""
    direction: str
    """original, reply; unknown before somebody first looked."""
    kind: str
    """The segment class; "unknown" before somebody first looked."""
    count: int
    """Packets."""


@dataclass(frozen=True)
class Histogram:
    """How times are distributed."""

    bounds_s: list[float]
    """The upper bounds of the buckets, in seconds, without the last, which has none."""
    counts: list[int]
    """How many times are in each bucket (not summed up); one more than there are bounds."""
    sum_s: float
    """The sum of all times, in seconds."""


@dataclass(frozen=True)
class Meters:
    """Counts and distributions for a monitoring system.

    None of them ever goes back, except for `held`. Where a place is followed, distributions, and counts by direction
    and class, begin anew with each new network namespace.
    """

    packets: list[PacketCount]
    """By fate, policy, direction and class."""
    held: int
    """Packets that wait now."""
    hold: Histogram
    """Departure minus arrival of the packets that went on, since somebody first looked."""
    lateness: Histogram
    """Departure minus planned departure of the same."""
    bypassed: int
    """Packets that matched but passed unshaped; 0 if the rules aren't ours, since nobody knows then."""
    lost: dict[str, int] = field(default_factory=dict)
    """Packets that the kernel dropped, by reason: queue_full, buffer_full, reload."""
    failures: int = 0
    """How often policies failed."""


class Controlled(Protocol):
    """A run that can be looked at and changed while it goes on.

    All methods but `stop` raise ShaperError if the run has ended or an engine gives no answer.
    """

    name: str
    """What it is called, see `Status.name`."""

    async def status(self) -> Status:
        """The run now."""

    async def pipeline(self) -> list[Stage]:
        """The stages in force."""

    async def replace(self, specs: Sequence[str]) -> list[Stage]:
        """From now on packets meet these policies; packets already held keep their plans. Returns the new stages.

        Raises:
            UsageError: a SPEC is wrong (one line); nothing has changed then, in no engine.
        """

    async def change(self, stage: str, options: Mapping[str, str]) -> Stage:
        """Change options of one stage, given as text; returns the stage with its new values.

        Raises:
            NoSuchStage: there is no such stage.
            UsageError: there is no such option, or it can't have this value; nothing has changed then.
        """

    async def pause(self) -> Status:
        """From now on packets pass at once, behind those of their flow that are held."""

    async def resume(self) -> Status:
        """From now on packets meet the pipeline again."""

    async def release(self) -> Status:
        """All held packets go on now, in order of arrival."""

    async def flows(self, limit: int = 100) -> list[Flow]:
        """The flows with the most packets held, then with the most packets; `limit` of them at most."""

    def events(self, *, packets_per_second: int = 100) -> AbstractAsyncContextManager[trio.MemoryReceiveChannel[Event]]:
        """What happens from now on; of the packets a sample, this many a second at most.

        Who reads too slowly loses events, but delays nobody.
        """

    async def meters(self) -> Meters:
        """Counts and distributions so far."""

    def stop(self) -> None:
        """End the run in order; returns at once."""
