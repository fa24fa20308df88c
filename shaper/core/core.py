"""The core: packets and time in, verdicts out. No I/O, no clock, no chance of its own.

The same core runs live, with packets and time from the kernel, and in `replay`, with those
of a capture. The caller passes the time in:

    core.receive(packet, now)        a packet was taken
    core.signal(policy, signal, now) something happened that a policy asks for
    core.next_deadline()             when to call due() next
    core.due(now)                    the verdicts up to now
    core.replace(pipeline, now)      from now on packets meet other policies
    core.change(stage, values, now)  from now on a policy has other options
    core.pause(now), core.resume(now)  packets pass the policies, or meet them again
    core.release(now)                all packets that are held go on
    core.close()                     all packets still held go on

Packets go through the pipeline: what one policy sends at t, the next receives at t.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, cast

from shaper.core.agenda import is_valid
from shaper.core.change import NOTHING, Change, ChangeError, What, check
from shaper.core.connections import IDLE, Connections, FlowState
from shaper.core.counts import Counts, StageUse, selection
from shaper.core.failure import Failures, failure_of
from shaper.core.instances import NEVER
from shaper.core.pipeline import Pipeline
from shaper.core.train import Came, Part
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
        self._latest: FlowState | None = None  # of the packet that was received last
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
        state = self._connections.classify(packet, pipeline.now)
        instances = state.instances if state.version == pipeline.version else pipeline.admit(packet, state)
        state.inside += 1
        self._latest = state
        pipeline.enter(packet, instances)

    def pass_on(self, flows: Sequence[tuple[bytes, int]], raws: Callable[[], Sequence[bytes]], now: int) -> bool:
        """Packets were taken at `now` (ns), or shortly before, that go on at once if no policy wants any of them.

        As `receive` for each, and `due`, but without an object for any of them. That goes only if their flows are
        known, and nothing else happens up to `now`.

        Args:
            flows: the flow key of the first packet, as `plain_key` has it, and of how many in a row; and so on.
            raws: gives the bytes of each packet.
            now: see above.

        Returns:
            Whether they go on; if not, nothing has happened.
        """
        pipeline = self._pipeline
        now = max(now, pipeline.now)
        if now >= self._replaces_at or self._agenda.earliest <= now or pipeline.verdicts:
            return False
        states = self._connections.all_known(flows, pipeline.version)
        if states is None or any(state.instances for state in states):
            return False
        if self._connections.note(states, flows, raws, now) is None:
            return False
        pipeline.now = now
        for _, count in flows:
            self.counts.taken += count
            self.counts.sent += count
        return True

    @property
    def may_hold_alike(self) -> bool:
        """Whether `hold_alike` may hold packets: it could hold the one that `receive` had last."""
        return self._latest is not None and self._latest.is_held_alike

    def hold_alike(self, flows: Sequence[tuple[bytes, int]], read: Callable[[], Came], taken: int) -> Came | None:
        """Packets were taken that are held as trains, if nothing else happens to any of them.

        As `receive` for each at the time at which it arrived, but without an object for any of them.

        Args:
            flows: see `pass_on`.
            read: gives the packets.
            taken: when they were taken, in ns.

        Returns:
            What was read, if they are held; else None, and nothing has happened.
        """
        states = self._connections.all_known(flows, self._pipeline.version)
        if states is None or not all(state.is_held_alike for state in states):
            return None
        came = read()
        if came.arrived[-1] >= self._replaces_at or not self._pipeline.can_hold_alike(states, came):
            return None
        kinds = self._connections.note(states, flows, lambda: came.raws, came.arrived[-1])
        if kinds is None:
            return None
        self._pipeline.hold_alike(flows, states, came, kinds, taken)
        return came

    def let_go(self, now: int) -> list[Part]:
        """The packets of trains that go on up to `now` (ns), before anything else happens; `due` has the rest."""
        if self._agenda.earliest > now or now >= self._replaces_at:
            return []
        return self._pipeline.let_go(now)

    def is_done_with(self, packet: Packet) -> bool:
        """Whether no policy wants any packet of this packet's connection, in either direction, unless it is changed."""
        pipeline, state = self._pipeline, cast(FlowState, packet.flow_state)
        if pipeline.is_paused or self._following is not None or not _wants_nothing(pipeline, state):
            return False
        other = self._connections.other(packet)
        if other is None:
            return False
        if other.version != pipeline.version:
            pipeline.catch_up(other)
        return _wants_nothing(pipeline, other)

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
        self._reach(now)
        state = self._connections.known(signal.flow)
        if state is None or state.made_by is not pipeline.instances:
            return
        instances = pipeline.catch_up(state)
        if not instances:
            return
        instance = instances[pipeline.names.index(policy)]
        if not instance.is_failed:
            pipeline.wake(instance, signal._replace(direction=state.direction))

    @property
    def now(self) -> int:
        """How far its time has gone on, in ns."""
        return self._pipeline.now

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

    # Changes by hand. Packets that are held keep their plans, and go on before those of their flow that come later.
    # The connections, their classes, the seed, and the counters of stages with the same name stay.

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the stages that packets meet now."""
        return self._pipeline.names

    @property
    def prototypes(self) -> tuple[Policy, ...]:
        """The policies that packets meet now, with the options that they have now."""
        return self._pipeline.prototypes

    @property
    def is_paused(self) -> bool:
        """Whether packets that come pass all policies."""
        return self._pipeline.is_paused

    def replace(self, pipeline: Sequence[Policy], now: int, specs: tuple[str, ...] = ()) -> None:
        """From `now` (ns) on, packets meet these policies. Pipelines that were planned to follow don't any more.

        Packets that are held go through the rest of the policies that they came to.

        Args:
            pipeline: prototypes, in order.
            now: the time, in ns.
            specs: the same as the user wrote it; noted in `changes`.
        """
        self._reach(now)
        self._following, self._replaces_at = None, NEVER
        self._replace(pipeline, now, specs)

    def change(self, stage: str, values: Mapping[str, Any], now: int, options: Mapping[str, str] = NOTHING) -> None:
        """From `now` (ns) on, the policy of a stage has other options; its objects keep their state.

        Each object is told by `Policy.on_change` before its next packet or wake. A later packet may overtake earlier
        ones if the policy has `order=free`.

        Args:
            stage: its name.
            values: new values by option, such as `{"time": 50 * ms}`.
            now: the time, in ns.
            options: the same as the user wrote it; noted in `changes`.

        Raises:
            ChangeError: there is no such stage or option, or the policy refuses; nothing has changed.
        """
        self._begin_phases(now)
        pipeline = self._pipeline
        if stage not in pipeline.names:
            raise ChangeError(f"there is no stage '{stage}'; there is {', '.join(pipeline.names) or 'none'}")
        nth = pipeline.names.index(stage)
        check(stage, pipeline.prototypes[nth], values)
        self._reach(now)
        pipeline.change(nth, values)
        self._note("change", stage=stage, options=options)

    def pause(self, now: int) -> None:
        """From `now` (ns) on, packets that come pass all policies; without effect while the core is paused."""
        if not self._pipeline.is_paused:
            self._reach(now)
            self._pipeline.pause(True)
            self._note("pause")

    def resume(self, now: int) -> None:
        """From `now` (ns) on, packets meet the policies again, and their objects as they were before the pause."""
        if self._pipeline.is_paused:
            self._reach(now)
            self._pipeline.pause(False)
            self._note("resume")

    def release(self, now: int) -> None:
        """All packets that are held at `now` (ns) leave the pipeline, in order of arrival."""
        self._reach(now)
        self._pipeline.release()
        self._note("release")

    def recount(self) -> None:
        """Connections that begin from now on are counted from 1 again, so chance is theirs as in a new network."""
        self._connections.recount()

    def _reach(self, now: int) -> None:
        """Do all that is planned up to `now` (ns). What then isn't noted as a change must not move the time."""
        self._begin_phases(now)
        if now > self._pipeline.now:
            self._pipeline.advance(now)

    def _begin_phases(self, now: int) -> None:
        if now >= self._replaces_at and self._begin is not None:
            self._replace_up_to(now)

    def _replace(self, pipeline: Sequence[Policy], now: int, specs: tuple[str, ...]) -> None:
        if now > self._pipeline.now:
            self._pipeline.advance(now)
        self._pipeline.replace(pipeline)
        self._note("replace", specs)

    def _note(
        self, what: What, specs: tuple[str, ...] = (), stage: str = "", options: Mapping[str, str] = NOTHING
    ) -> None:
        self.changes.append(Change(self._pipeline.now, self.counts.taken, what, specs, stage, options))

    def _replace_up_to(self, now: int) -> None:
        """Replace the pipeline by each that follows up to `now`; their times count from the first packet."""
        if self._begin is None:
            self._begin = max(now, self._pipeline.now)
        while self._following is not None:
            self._replaces_at = self._begin + self._following.after
            if self._replaces_at > now:
                return
            self._replace(self._following.pipeline, self._replaces_at, self._following.specs)
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
            name: StageUse(counts.dropped, counts.touched, counts.met, selection(policy), counts.held, counts.injected)
            for name, (policy, counts) in self._pipeline.stages.items()
            if type(policy).on_packet is not Policy.on_packet
        }

    @property
    def counters(self) -> dict[str, dict[str, int]]:
        """What the policies have counted themselves, by the names of their stages (see `Policy.tally`)."""
        stages = self._pipeline.stages.items()
        return {name: policy.counters for name, (policy, _) in stages if policy.counters}


def _wants_nothing(pipeline: Pipeline, state: FlowState) -> bool:
    """Whether no policy wants packets of a flow that come, and none are held."""
    return state.version == pipeline.version and not state.instances and not state.inside
