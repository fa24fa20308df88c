"""The stages of a pipeline: which policies packets meet, and how that is changed while packets flow.

A change costs the same however many flows and packets there are: only a number grows. Each flow
catches up when it is met next, and so does each policy object.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

from shaper.core.agenda import Agenda
from shaper.core.connections import FlowState
from shaper.core.counts import Counts, StageCounts
from shaper.core.failure import FAULTS, Failures
from shaper.core.instances import NO_LIMIT, Instances, PolicyInstance, stage_names
from shaper.core.turns import Turns
from shaper.policy.base import Policy
from shaper.wire.packet import Packet


class Stage(NamedTuple):
    """One stage, by its latest policy, and what it has done so far."""

    policy: Policy
    counts: StageCounts


class Stages:
    """The stages in order, each with its policy and the instances of it.

    Attributes:
        agenda: what is planned.
        prototypes, names: the policies, and the names of their stages.
        stages: each stage that there was so far, by name.
        counts, failures: see `Core`, as for the arguments.
        version: how often they were changed.
        is_paused: whether packets that come pass all policies.
        instances: makes the policy objects.
        in_turns: the flows whose packets leave in turn.
    """

    def __init__(self, prototypes: Sequence[Policy], seed: int | str) -> None:
        self.agenda = Agenda()
        self.counts = Counts()
        self.failures = Failures()
        self.prototypes: tuple[Policy, ...] = ()
        self.names: tuple[str, ...] = ()
        self.stages: dict[str, Stage] = {}
        self.version = 0
        self.is_paused = False
        self.in_turns: dict[FlowState, None] = {}
        self._seed = seed
        self._turn = 0  # how many changes there were that keep the order of packets
        self._changed: list[dict[str, int]] = []  # by stage: the options that were changed, with the version
        self.instances = self._made_of(prototypes)

    def clear(self) -> None:
        """From now on packets pass all policies, whose objects are forgotten; the names of the stages stay."""
        self.instances = Instances((), (), (), self._seed, self.failures)
        self.version += 1

    def _made_of(self, policies: Sequence[Policy]) -> Instances:
        """Make these policies the stages; counters of stages that were there before, by name, go on."""
        self.names = stage_names(policies)
        before = [self.stages.get(name) for name in self.names]
        self.prototypes = tuple(
            policy.prototype(stage.policy if stage else None) for policy, stage in zip(policies, before, strict=True)
        )
        counts = [stage.counts if stage else StageCounts() for stage in before]
        self.stages |= dict(zip(self.names, map(Stage, self.prototypes, counts), strict=True))
        self._changed = [{} for _ in self.prototypes]
        return Instances(self.prototypes, self.names, counts, self._seed, self.failures, self.version)

    def replace(self, policies: Sequence[Policy]) -> None:
        """Packets that come from now on meet these policies; those that are held keep their plans and their policies.

        No later packet of a flow goes on before one that is held now.
        """
        self._change(keeps_order=True)
        self.instances = self._made_of(policies)

    def change(self, stage: int, values: Mapping[str, Any]) -> None:
        """Packets that come from now on meet these values of options at a stage; its objects stay."""
        prototype = self.prototypes[stage]
        had_limit = prototype.limit != NO_LIMIT
        for name, value in values.items():
            setattr(prototype, name, value)
        self._change(keeps_order=getattr(prototype, "order", "keep") != "free")
        self._changed[stage] |= dict.fromkeys(values, self.version)
        self.instances.version = self.version
        if prototype.limit != NO_LIMIT and not had_limit:
            self._count(stage)

    def pause(self, is_paused: bool) -> None:
        """From now on packets pass all policies, or meet them again."""
        self.is_paused = is_paused
        self._change(keeps_order=True)

    def _change(self, *, keeps_order: bool) -> None:
        self.version += 1
        self._turn += keeps_order

    def _count(self, stage: int) -> None:
        """A stage has a limit from now on: count what its objects hold."""
        held: dict[PolicyInstance, list[Packet]] = {}
        for _, _, instance, packet in self.agenda.entries():
            if packet is not None and instance.place.made_by is self.instances and instance.place.stage == stage:
                held.setdefault(instance, []).append(packet.root)
        for instance, packets in held.items():
            instance.count(packets)

    def catch_up(self, state: FlowState) -> tuple[PolicyInstance, ...]:
        """The instances that the packets of a flow meet, even while the core is paused, after all changes so far."""
        connection, instances, former = state.connection, self.instances, state.made_by
        if self._turn > state.turn:
            if state.inside:
                if state.turns is None:
                    state.turns = Turns(state.turn)
                    self.in_turns[state] = None
                state.turns.change(state.turn, state.inside)
            state.turn = self._turn
        if former is not instances:
            if former is not None and state.inside:
                former.kept[state] = state.all_instances
            state.made_by = instances
            state.all_instances = instances.of(connection, state.direction, connection.shared_by(instances))
        elif state.version != self.version and any("connections" in changed for changed in self._changed):
            before = state.all_instances
            state.all_instances = instances.of(connection, state.direction, connection.shared_by(instances), before)
        for instance in state.all_instances:
            if instance.version != self.version:
                self._update(instance)
        state.version = self.version if state.turns is None else -1
        is_met = not self.is_paused and any(not instance.is_idle for instance in state.all_instances)
        state.instances = state.all_instances if is_met else ()
        return state.all_instances

    def admit(self, packet: Packet, state: FlowState) -> tuple[PolicyInstance, ...]:
        """The instances that a packet meets that comes now, where its flow may have to catch up."""
        self.catch_up(state)
        packet.root.turn = state.turn
        return state.instances

    def kept(self, instance: PolicyInstance, state: FlowState) -> tuple[PolicyInstance, ...]:
        """The instances that the packets of a flow meet which one of another pipeline has held."""
        former = cast(Instances, instance.place.made_by)
        if state.made_by is former:
            return state.all_instances
        instances = former.kept.get(state)
        if instances is None:  # a policy has made a packet of another flow than those that it holds
            instances = former.kept[state] = former.of(state.connection, state.direction, {})
        return instances

    def _update(self, instance: PolicyInstance) -> None:
        """Give an object the options that were changed since it was met last."""
        changed = self._changed[instance.place.stage].items()
        names = {name for name, version in changed if version > instance.version}
        try:
            instance.change(self.prototypes[instance.place.stage], names, self.version)
        except FAULTS as error:
            self._fail(instance, error, "on_change", None)

    def _fail(self, instance: PolicyInstance, error: Exception | SystemExit, hook: str, current: Packet | None) -> None:
        """A hook has raised an error."""
        raise NotImplementedError
