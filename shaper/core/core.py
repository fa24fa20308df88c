"""The core: packets and time in, verdicts out. No I/O, no clock, no chance of its own.

The same core runs live, with packets and time from the kernel, and in `replay`, with those
of a capture. The caller passes the time in:

    core.receive(packet, now)        a packet was taken
    core.signal(policy, signal, now) something happened that a policy asks for
    core.next_deadline()             when to call due() next
    core.due(now)                    the verdicts up to now
    core.replace(pipeline, now)      from now on packets meet other policies
    core.close()                     all packets still held go on

Packets go through the pipeline: what one policy sends at t, the next receives at t.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from shaper.core.agenda import is_valid
from shaper.core.change import Change
from shaper.core.connections import IDLE, Connections
from shaper.core.counts import Counts, StageUse, selection
from shaper.core.failure import Failures, failure_of
from shaper.core.instances import NEVER
from shaper.core.pipeline import Pipeline
from shaper.core.verdict import Verdict
from shaper.policy.base import Policy
from shaper.policy.signal import Kind, Signal
from shaper.units import s
from shaper.wire.packet import Packet

MAX_HOLD = 10 * s
"""The longest that a packet is held unless the user says otherwise, in ns."""


class Following(NamedTuple):
    """A pipeline, and how long (ns) after the first packet it replaces the one before."""

    after: int
    pipeline: Sequence[Policy]
    specs: tuple[str, ...] = ()
    """As the user wrote it."""


class Core:
    """A pipeline of policies at work.

    Args:
        pipeline: the policies' prototypes, in order (see `Policy.fresh`).
        seed: decides all chance.
        max_hold: the longest that any packet is held, in ns; a longer hold is cut short.
        then: pipelines that follow, each at its time, in order.
        pass_strays: later fragments whose first one wasn't seen pass all policies. For live rules that match ports:
            they bring the later fragments of other datagrams, too.

    Attributes:
        counts: how many packets were taken so far, and what became of them.
        failures: the first failures of each policy, in the order in which they happened.
        max_hold: as given.
        changes: what was changed so far, in order.
    """

    def __init__(
        self,
        pipeline: Sequence[Policy],
        *,
        seed: int | str = 0,
        max_hold: int = MAX_HOLD,
        then: Iterable[Following] = (),
        pass_strays: bool = False,
    ) -> None:
        self.max_hold = max_hold
        self.changes: list[Change] = []
        self._then = iter(then)
        self._following = next(self._then, None)
        self._begin: int | None = None  # when the first packet was taken
        # When the pipeline is replaced next; 0, which has passed, before the first packet sets it.
        self._replaces_at = NEVER if self._following is None else 0
        self._connections = Connections(max(IDLE, max_hold), pass_strays=pass_strays)
        self._pipeline = Pipeline(pipeline, self._connections, seed, max_hold)
        self._agenda = self._pipeline.agenda
        self.counts: Counts = self._pipeline.counts
        self.failures: Failures = self._pipeline.failures

    def receive(self, packet: Packet, now: int) -> None:
        """A packet was taken at `now` (ns); a time before that of the last call counts as that time."""
        pipeline = self._pipeline
        if now >= self._replaces_at:
            self._replace_up_to(now)
        if now > pipeline.now:
            if self._agenda.earliest <= now:
                pipeline.advance(now)
            else:
                pipeline.now = now
        self.counts.taken += 1
        pipeline.enter(packet, self._connections.classify(packet, pipeline.now))

    def signal(self, policy: str, signal: Signal, now: int) -> None:
        """Pass a signal to a policy that asks for it; without effect where it has no object for this flow.

        Args:
            policy: the name of its stage.
            signal: what has happened.
            now: when, in ns.

        Raises:
            ValueError: there is no stage of this name.
        """
        pipeline = self._pipeline
        if policy not in pipeline.names:
            raise ValueError(f"there is no stage '{policy}'; there is {', '.join(pipeline.names)}")
        if now >= self._replaces_at and self._begin is not None:
            self._replace_up_to(now)
        if now > pipeline.now:
            pipeline.advance(now)
        state = self._connections.known(signal.flow)
        if state is None or not state.instances:
            return
        instance = state.instances[pipeline.names.index(policy)]
        if not instance.is_failed:
            pipeline.wake(instance, signal._replace(direction=state.direction))

    def next_deadline(self) -> int | None:
        """When `due` has something to do next, in ns; None while nothing is planned."""
        planned = self._agenda.next_time()
        if self._begin is None or self._following is None:
            return planned
        return self._replaces_at if planned is None else min(planned, self._replaces_at)

    def due(self, now: int) -> list[Verdict]:
        """All verdicts up to `now` (ns) that were not yet returned, in order."""
        pipeline = self._pipeline
        if now >= self._replaces_at and self._begin is not None:
            self._replace_up_to(now)
        if now >= pipeline.now:
            if self._agenda.earliest <= now:
                pipeline.advance(now)
            else:
                pipeline.now = now
        verdicts, pipeline.verdicts = pipeline.verdicts, []
        return verdicts

    def replace(self, pipeline: Sequence[Policy], now: int, specs: tuple[str, ...] = ()) -> None:
        """From `now` (ns) on, packets meet these policies; those that are held keep their plans.

        A packet that comes later goes on after those of its flow that are held now. The connections, their classes,
        the seed, and the counters of stages with the same name stay.

        Args:
            pipeline: prototypes, in order.
            now: the time, in ns.
            specs: the same as the user wrote it; noted in `changes`.
        """
        if now > self._pipeline.now:
            self._pipeline.advance(now)
        self._pipeline.replace(pipeline)
        self.changes.append(Change(self._pipeline.now, self.counts.taken, "replace", specs))

    def _replace_up_to(self, now: int) -> None:
        """Replace the pipeline by each that follows up to `now`; their times count from the first packet."""
        if self._begin is None:
            self._begin = max(now, self._pipeline.now)
        while self._following is not None:
            self._replaces_at = self._begin + self._following.after
            if self._replaces_at > now:
                return
            self.replace(self._following.pipeline, self._replaces_at, self._following.specs)
            self._following = next(self._then, None)
        self._replaces_at = NEVER

    def close(self) -> list[Verdict]:
        """Verdicts for all packets still held: they go on, in order of arrival. Later packets pass at once."""
        pipeline, held = self._pipeline, []
        self._following, self._replaces_at = None, NEVER
        while len(self._agenda):
            entry = self._agenda.pop()
            _, _, instance, packet = entry
            if packet is not None and is_valid(entry):
                instance.let_go(packet.root, pipeline.now)
                held.append(packet)
        held += pipeline.retire()
        for packet in sorted(held, key=Packet.order):
            pipeline.conclude(packet, "sent")
        return self.due(pipeline.now)

    def give_up(self, error: Exception) -> list[Verdict]:
        """As `close`, after an error that can't be blamed on one policy: counts as a failure of each of them."""
        verdicts = self.close()
        for policy, name in zip(self._pipeline.prototypes, self._pipeline.names, strict=True):
            self.failures.append(failure_of(type(policy), name, error, "on_packet"))
        return verdicts

    def listeners(self, kind: Kind) -> list[str]:
        """The names of the stages whose policies ask for signals of this kind."""
        policies = zip(self._pipeline.names, self._pipeline.prototypes, strict=True)
        return [name for name, policy in policies if kind in policy.signals]

    @property
    def stages(self) -> dict[str, StageUse]:
        """What each stage has done so far, by its name; without those whose policy never does anything."""
        return {
            name: StageUse(counts.dropped, counts.touched, counts.met, selection(policy))
            for name, (policy, counts) in self._pipeline.stages.items()
            if type(policy).on_packet is not Policy.on_packet
        }

    @property
    def counters(self) -> dict[str, dict[str, int]]:
        """What the policies have counted themselves, by the names of their stages (see `Policy.tally`)."""
        stages = self._pipeline.stages.items()
        return {name: policy.counters for name, (policy, _) in stages if policy.counters}
