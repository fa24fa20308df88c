"""The core: packets and time in, verdicts out. No I/O, no clock, no chance of its own.

The same core runs live, with packets and time from the kernel, and in `replay`, with those
of a capture. The caller passes the time in:

    core.receive(packet, now)        a packet was taken
    core.signal(policy, signal, now) something happened that a policy asks for
    core.next_deadline()             when to call due() next
    core.due(now)                    the verdicts up to now
    core.close()                     all packets still held go on

Packets go through the pipeline: what one policy sends at t, the next receives at t.
"""

from __future__ import annotations

from collections.abc import Sequence

from shaper.core.agenda import is_valid
from shaper.core.connections import IDLE, Connections
from shaper.core.counts import Counts, StageUse, selection
from shaper.core.failure import Failures, failure_of
from shaper.core.pipeline import Pipeline
from shaper.core.verdict import Verdict
from shaper.policy.base import Policy
from shaper.policy.signal import Kind, Signal
from shaper.units import s
from shaper.wire.packet import Packet

MAX_HOLD = 10 * s
"""The longest that a packet is held unless the user says otherwise, in ns."""


class Core:
    """A pipeline of policies at work.

    Args:
        pipeline: the policies' prototypes, in order (see `Policy.fresh`).
        seed: decides all chance.
        max_hold: the longest that any packet is held, in ns; a longer hold is cut short.
        pass_strays: later fragments whose first one wasn't seen pass all policies. For live rules that match ports:
            they bring the later fragments of other datagrams, too.

    Attributes:
        counts: how many packets were taken so far, and what became of them.
        failures: the first failures of each policy, in the order in which they happened.
        max_hold: as given.
    """

    def __init__(
        self, pipeline: Sequence[Policy], *, seed: int | str = 0, max_hold: int = MAX_HOLD, pass_strays: bool = False
    ) -> None:
        self.max_hold = max_hold
        self._connections = Connections(max(IDLE, max_hold), pass_strays=pass_strays)
        self._pipeline = Pipeline(pipeline, self._connections, seed, max_hold)
        self._agenda = self._pipeline.agenda
        self.counts: Counts = self._pipeline.counts
        self.failures: Failures = self._pipeline.failures

    def receive(self, packet: Packet, now: int) -> None:
        """A packet was taken at `now` (ns); a time before that of the last call counts as that time."""
        pipeline = self._pipeline
        if now > pipeline.now:
            pipeline.advance(now)
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
        return self._agenda.next_time()

    def due(self, now: int) -> list[Verdict]:
        """All verdicts up to `now` (ns) that were not yet returned, in order."""
        pipeline = self._pipeline
        if now >= pipeline.now:
            pipeline.advance(now)
        verdicts, pipeline.verdicts = pipeline.verdicts, []
        return verdicts

    def close(self) -> list[Verdict]:
        """Verdicts for all packets still held: they go on, in order of arrival. Later packets pass at once."""
        pipeline, held = self._pipeline, []
        while len(self._agenda):
            entry = self._agenda.pop()
            _, _, instance, packet = entry
            if packet is not None and is_valid(entry):
                instance.let_go(packet.root, pipeline.now)
                held.append(packet)
        pipeline.retire()
        self._connections.forget_instances()
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
        pipeline = self._pipeline
        stages = zip(pipeline.names, pipeline.prototypes, pipeline.stages, strict=True)
        return {
            name: StageUse(counts.dropped, counts.touched, counts.met, selection(policy))
            for name, policy, counts in stages
            if type(policy).on_packet is not Policy.on_packet
        }

    @property
    def counters(self) -> dict[str, dict[str, int]]:
        """What the policies have counted themselves, by the names of their stages (see `Policy.tally`)."""
        policies = zip(self._pipeline.names, self._pipeline.prototypes, strict=True)
        return {name: policy.counters for name, policy in policies if policy.counters}
