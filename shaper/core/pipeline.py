"""The pipeline: takes packets through the policies, and carries out what these answer.

Everything happens at `now`, which the core advances. What is planned for later goes to the
agenda; a packet that leaves the last stage or is dropped gets its verdict.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, cast

from shaper.core.agenda import Agenda
from shaper.core.answer import actions_of
from shaper.core.connections import Connections, FlowState
from shaper.core.counts import Counts, StageCounts
from shaper.core.failure import FAULTS, Failures, PolicyError
from shaper.core.instances import Instances, PolicyInstance, stage_names
from shaper.core.turns import Turns
from shaper.core.verdict import Fate, Verdict
from shaper.policy.action import Action, Drop, Hold, Send, Wake
from shaper.policy.base import Policy
from shaper.policy.signal import Signal
from shaper.wire.packet import Packet


class Stage(NamedTuple):
    """One stage, by its latest policy, and what it has done so far."""

    policy: Policy
    counts: StageCounts


class Former:
    """The instances of a pipeline that was replaced, for the packets that were held then."""

    def __init__(self, instances: Instances) -> None:
        self._instances = instances
        self._of: dict[FlowState, list[PolicyInstance]] = {}

    def keep(self, instance: PolicyInstance, state: FlowState) -> None:
        """Keep the instances that the packets of this flow meet, of which this one holds a packet."""
        if instance.former is None and state.instances is not None:
            self._of[state] = state.instances
            for each in state.instances:
                each.former = self
        instance.former = instance.former or self

    def of(self, state: FlowState) -> list[PolicyInstance]:
        """The instances that the packets of this flow meet."""
        instances = self._of.get(state)
        if instances is None:  # a policy has made a packet of another flow than those that it holds
            instances = self._instances.of(state.connection.identity, state.direction, {})
            self._of[state] = instances
            for each in instances:
                each.former = self
        return instances


class Pipeline:
    """The stages in order, each with its policy and the instances of it.

    Attributes:
        now: the time, in ns.
        agenda: what is planned.
        verdicts: those that the core has not returned yet, in order.
        prototypes, names: the policies, and the names of their stages.
        stages: each stage that there was so far, by name.
        counts, failures: see `Core`, as for the arguments.
    """

    def __init__(self, prototypes: Sequence[Policy], connections: Connections, seed: int | str, max_hold: int) -> None:
        self.now = 0
        self.agenda = Agenda()
        self.verdicts: list[Verdict] = []
        self.counts = Counts()
        self.failures = Failures()
        self.prototypes: tuple[Policy, ...] = ()
        self.names: tuple[str, ...] = ()
        self.stages: dict[str, Stage] = {}
        self._connections = connections
        self._seed = seed
        self._max_hold = max_hold
        self._turns: Turns | None = None  # only while a change still matters
        self._instances = self._made_of(prototypes)

    def _made_of(self, policies: Sequence[Policy]) -> Instances:
        """Make these policies the stages; counters of stages that were there before, by name, go on."""
        self.names = stage_names(policies)
        before = [self.stages.get(name) for name in self.names]
        self.prototypes = tuple(
            policy.prototype(stage.policy if stage else None) for policy, stage in zip(policies, before, strict=True)
        )
        counts = [stage.counts if stage else StageCounts() for stage in before]
        self.stages |= dict(zip(self.names, map(Stage, self.prototypes, counts), strict=True))
        return Instances(self.prototypes, self.names, counts, self._seed, self.failures)

    def replace(self, policies: Sequence[Policy]) -> None:
        """Packets that come from now on meet these policies; those that are held keep their plans and their policies.

        No later packet of a flow goes on before one that is held now.
        """
        former, held = Former(self._instances), []
        for _, _, instance, packet in self.agenda.entries():
            if packet is not None:
                held.append(packet.root)
                former.keep(instance, cast(FlowState, packet.flow_state))
            elif instance.former is None:
                instance.former = former
        self._instances = self._made_of(policies)
        self._connections.forget_instances()
        turns = self._turns or Turns()
        turns.change(held)
        self._turns = turns if turns else None

    def advance(self, now: int) -> None:
        """Do everything that is planned up to `now`, each at its own time."""
        agenda = self.agenda
        while agenda.earliest <= now:
            entry = agenda.pop()
            at, number, instance, packet = entry
            if packet is None:
                if instance.plan != number:
                    continue
                if at > self.now:
                    self.now = at
                instance.wake, instance.plan = None, 0
                if instance.former is None or instance.held:
                    self.wake(instance)
                continue
            root = packet.origin or packet
            if root.plan != number:
                continue
            if at > self.now:
                self.now = at
            if instance.held and root in instance.held:
                self._cut_short(root)  # the policy held it without a plan for too long
            instance.let_go(root, self.now)
            if instance.is_last:
                self.conclude(packet, "sent")
            else:
                self.go_on(instance, packet)
        self.now = now

    # The packet's way through the stages.

    def enter(
        self, packet: Packet, state: FlowState, stage: int = 0, instances: list[PolicyInstance] | None = None
    ) -> None:
        """The packet reaches this stage, or the end of the pipeline.

        Args:
            packet, stage: which, and where.
            state: of its flow.
            instances: those that it meets, if they aren't its flow's.
        """
        if instances is None:
            instances = state.instances
            if instances is None:
                connection = state.connection
                instances = self._instances.of(connection.identity, state.direction, connection.instances)
                state.instances = instances
        depth = len(instances)
        while stage < depth:
            instance = instances[stage]
            stage += 1
            if instance.selects:
                if not instance.shapes(packet):
                    continue
                instance.counts.met = True
            if instance.limited and instance.is_full(packet):
                self.counts.overflowed += 1
                self._drop(instance, packet)
                return
            try:
                answer: Any = instance.on_packet(packet, self.now)
            except FAULTS as error:
                self._fail(instance, error, "on_packet", packet)
                return
            # A variable, so that mypyc doesn't narrow `answer`, whose attributes may have any type, to a Send.
            kind: type = type(answer)
            if kind is Send and answer.packet is packet and type(answer.at) is int:
                self._send(instance, packet, answer.at)
                return
            if answer is not None:
                self._carry_out(instance, answer, packet, "on_packet")
                return
        self.conclude(packet, "sent")

    def go_on(self, instance: PolicyInstance, packet: Packet) -> None:
        """The packet goes on from this instance to the next stage."""
        state = cast(FlowState, packet.flow_state)
        former = instance.former
        self.enter(packet, state, instance.stage + 1, None if former is None else cast(Former, former).of(state))

    def conclude(self, packet: Packet, fate: Fate) -> None:
        """The packet leaves the pipeline: count it and give its verdict, when it is its turn."""
        turns = self._turns
        if turns is not None:
            self._turns = None
            for leaving, its_fate in turns.leave(packet, fate, self.now):
                self.conclude(leaving, its_fate)
            self._turns = turns if turns else None
            return
        if packet.id:
            if fate == "sent":
                self.counts.sent += 1
            else:
                self.counts.dropped += 1
        elif fate == "sent":
            fate = "injected"
            self.counts.injected += 1
        else:
            return
        self.verdicts.append(Verdict(packet, fate, self.now))

    def retire(self) -> list[Packet]:
        """From now on packets pass all policies, whose objects are forgotten. Returns those that waited their turn."""
        self._instances.close()
        self._connections.forget_instances()
        turns, self._turns = self._turns, None
        return turns.close(self.now) if turns is not None else []

    def wake(self, instance: PolicyInstance, signal: Signal | None = None) -> None:
        """Call the policy's `on_wake`, or with a signal its `on_signal`, and carry out the answer."""
        policy, hook = instance.policy, "on_wake" if signal is None else "on_signal"
        try:
            answer = policy.on_wake(self.now) if signal is None else policy.on_signal(signal, self.now)
        except FAULTS as error:
            self._fail(instance, error, hook, None)
            return
        if answer is not None:
            self._carry_out(instance, answer, None, hook)

    # The answers of policies.

    def _carry_out(
        self, instance: PolicyInstance, answer: Action | Iterable[Action], current: Packet | None, hook: str
    ) -> None:
        """Carry out the answer of a hook in its order; a current packet that it doesn't mention goes on first."""
        pending = current  # the current packet, until it is disposed of
        try:
            actions = actions_of(answer)
            about = [action for action in actions if not isinstance(action, Wake)]
            if current is not None and all(action.packet.root is not current.root for action in about):
                pending = None
                self.go_on(instance, current)
            sent: set[Packet] = set()
            for action in actions:
                if isinstance(action, Wake):
                    self._plan_wake(instance, action.at, is_woken=current is None)
                    continue
                packet = action.packet
                if isinstance(action, Send) and packet.root in sent:
                    self._duplicate(instance, packet, action.at)
                    continue
                if pending is not None and packet.root is pending.root:
                    pending = None
                    if packet is not current:
                        instance.counts.touched = True
                elif not self._claim(instance, action):
                    continue
                if isinstance(action, Send):
                    sent.add(packet.root)
                    self._send(instance, packet, action.at)
                elif isinstance(action, Hold):
                    self._hold(instance, packet)
                else:
                    self._drop(instance, packet)
        except FAULTS as error:
            self._fail(instance, error, hook, pending)

    def _claim(self, instance: PolicyInstance, action: Send | Drop | Hold) -> bool:
        """Whether to carry out the action; if so, the packet is no longer held.

        Raises:
            PolicyError: this instance neither holds the packet nor has made it.
        """
        packet, root = action.packet, action.packet.root
        if root.cut_short and root.holder is not instance:
            return False  # its hold was cut short, and it went on
        if root in instance.held:
            root.plan = 0
            instance.let_go(root, self.now)
            self.agenda.note_replaced()
            return True
        if root.id == 0 and root.holder is None and not isinstance(action, Drop):
            self._adopt(instance, packet)
            return True
        if isinstance(action, Send) and root.holder is instance:
            self._duplicate(instance, packet, action.at)
            return False
        can = "it can use the packet it was just given and those it answered with Hold"
        raise PolicyError(f"{action!r}: {instance.name} does not hold this packet; {can}")

    def _send(self, instance: PolicyInstance, packet: Packet, at: int | None) -> None:
        if at is None or at <= self.now:
            self.go_on(instance, packet)
            return
        root = packet.origin or packet
        if at > root.arrived + self._max_hold:
            self._cut_short(root)
            at = max(root.arrived + self._max_hold, self.now)
        instance.take(root, self.now)
        root.plan = self.agenda.add(at, instance, packet)

    def _drop(self, instance: PolicyInstance, packet: Packet) -> None:
        packet.root.by = instance.name
        instance.counts.touched = True
        instance.counts.dropped += packet.id > 0
        self.conclude(packet, "dropped")

    def _duplicate(self, instance: PolicyInstance, packet: Packet, at: int | None) -> None:
        twin = packet.copy()
        self._adopt(instance, twin)
        self._send(instance, twin, at)

    def _adopt(self, instance: PolicyInstance, packet: Packet) -> None:
        """Take over a packet that a policy made: it arrives when it is sent or held."""
        packet.root.arrived = packet.root.taken = self.now
        packet.root.by = instance.name
        instance.counts.touched = True
        self._connections.find(packet, self.now)

    def _hold(self, instance: PolicyInstance, packet: Packet) -> None:
        root = packet.root
        latest = root.arrived + self._max_hold
        if latest > self.now:
            instance.take(root, self.now)
            instance.held[root] = packet
            root.plan = self.agenda.add_far(latest, instance, packet)
        else:
            self._cut_short(root)
            self.go_on(instance, packet)

    def _cut_short(self, root: Packet) -> None:
        if not root.cut_short:
            root.cut_short = True
            self.counts.cut_short += 1

    def _plan_wake(self, instance: PolicyInstance, at: int, *, is_woken: bool) -> None:
        at = instance.plan_wake(at, self.now, is_woken=is_woken)
        if instance.wake != at:
            if instance.wake is not None:
                self.agenda.note_replaced()
            instance.wake = at
            instance.plan = self.agenda.add(at, instance, None)

    def _fail(self, instance: PolicyInstance, error: Exception | SystemExit, hook: str, current: Packet | None) -> None:
        """Fail open: the packets that the policy holds and the current one go on, and later ones pass it."""
        self.failures.append(instance.failed(error, hook))
        packets = instance.release(self.now)
        if current is not None:
            packets.append(current)
        for packet in packets:
            self.go_on(instance, packet)
