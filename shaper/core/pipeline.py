"""The pipeline: takes packets through the policies, and carries out what these answer.

Everything happens at `now`, which the core advances. What is planned for later goes to the
agenda; a packet that leaves the last stage or is dropped gets its verdict.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, cast

from shaper.core.answer import actions_of
from shaper.core.connections import Connections, FlowState
from shaper.core.failure import FAULTS, PolicyError
from shaper.core.instances import NOTHING, PolicyInstance
from shaper.core.stages import Stages
from shaper.core.train import Came, Part, Train
from shaper.core.verdict import Fate, Verdict
from shaper.policy.action import Action, Drop, Hold, Send, Wake
from shaper.policy.base import Policy
from shaper.policy.signal import Signal
from shaper.wire.packet import Packet


class Pipeline(Stages):
    """Takes packets through the stages.

    Attributes:
        now: the time, in ns.
        verdicts: those that the core has not returned yet, in order.
    """

    def __init__(self, prototypes: Sequence[Policy], connections: Connections, seed: int | str, max_hold: int) -> None:
        super().__init__(prototypes, seed)
        self.now = 0
        self.verdicts: list[Verdict] = []
        self._connections = connections
        self._max_hold = max_hold

    def advance(self, now: int) -> None:
        """Do everything that is planned up to `now`, each at its own time."""
        agenda = self.agenda
        while agenda.earliest <= now:
            # By far the most common, a packet in the FIFO, takes no tuple and no numbers in it.
            packet = agenda.pop_packet()
            if packet is not None:
                root = packet.origin or packet
                at, instance = root.due, cast(PolicyInstance, root.holder)
            else:
                at, number, instance, packet = agenda.pop()
                if packet is None:
                    if instance.plan != number:
                        continue
                    if at > self.now:
                        self.now = at
                    instance.wake, instance.plan = None, 0
                    if instance.place.made_by is self.instances or instance.held:
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
            if instance.place.is_last:
                self.conclude(packet, "sent")
            else:
                self.go_on(instance, packet)
        self.now = now

    # The packet's way through the stages.

    def enter(self, packet: Packet, instances: tuple[PolicyInstance, ...], stage: int = 0) -> None:
        """The packet reaches this stage, or the end of the pipeline.

        Args:
            packet, stage: which, and where.
            instances: those that it meets, by stage.
        """
        depth = len(instances)
        while stage < depth:
            instance = instances[stage]
            stage += 1
            if instance.selects:
                if not instance.shapes(packet):
                    continue
                instance.place.counts.met = True
            if instance.limited and instance.is_full(packet):
                self.counts.overflowed += 1
                self._drop(instance, packet)
                return
            if instance.hold >= 0:
                self._send(instance, packet, self.now + instance.hold)
                return
            if instance.hook is NOTHING:
                continue
            try:
                answer: Any = instance.hook(instance.policy, packet, self.now)
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
        if instance.place.made_by is not self.instances:
            instances = self.kept(instance, state)
        elif state.version == self.version:
            instances = state.all_instances
        else:
            instances = self.catch_up(state)
        self.enter(packet, instances, instance.place.stage + 1)

    def conclude(self, packet: Packet, fate: Fate) -> None:
        """The packet leaves the pipeline: count it and give its verdict, when it is its turn."""
        state = cast(FlowState, packet.flow_state)
        turns = state.turns
        if turns is not None:
            state.turns = None
            for leaving, its_fate in turns.leave(packet, fate, self.now):
                self.conclude(leaving, its_fate)
            if turns:
                state.turns = turns
            else:
                del self.in_turns[state]
            return
        state.inside -= 1
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

    # Packets that are held without an object for each.

    def can_hold_alike(self, states: Sequence[FlowState], came: Came) -> bool:
        """Whether these packets, of flows of which each `is_held_alike`, can be held as trains."""
        hold, since = states[0].instances[0].hold, max(came.arrived[0], self.now)
        if not all(state.instances[0].hold == hold for state in states):
            return False
        return since - came.arrived[0] + hold <= self._max_hold and self.agenda.takes_trains(since + hold)

    def hold_alike(
        self,
        flows: Sequence[tuple[bytes, int]],
        states: Sequence[FlowState],
        came: Came,
        kinds: Sequence[str],
        taken: int,
    ) -> None:
        """Hold these packets as trains; only if it `can_hold_alike`.

        Args:
            flows: see `Core.pass_on`.
            states: of the flows.
            came: the packets.
            kinds: the class of each segment; may be empty if there is none.
            taken: when they were taken, in ns.
        """
        ids, arrived, raws = came
        since = arrived if arrived[0] >= self.now else [max(each, self.now) for each in arrived]
        begin = 0
        for state, (_, count) in zip(states, flows, strict=True):
            end, instance = begin + count, state.instances[0]
            own = kinds[begin:end] if state.kind is None else [state.kind] * count
            part = Came(ids[begin:end], arrived[begin:end], raws[begin:end])
            self.agenda.add_train(Train(state, instance, part, own, since[begin:end], taken))
            state.inside += count
            instance.place.counts.held += count
            begin = end
        self.counts.taken += begin

    def let_go(self, now: int) -> list[Part]:
        """The packets of trains that go on up to `now` (ns), before anything else happens."""
        if self.verdicts:
            return []
        parts = self.agenda.take_trains(now)
        for train, begin, end in parts:
            train.state.inside -= end - begin
            self.counts.sent += end - begin
            self.now = max(self.now, train.due(end - 1))
        return parts

    def retire(self) -> list[Packet]:
        """From now on packets pass all policies, whose objects are forgotten. Returns those that waited their turn."""
        self.clear()
        return self._close_turns()

    def release(self) -> None:
        """All packets that are held leave the pipeline, in order of arrival."""
        held = []
        for instance, packet in self.agenda.take_packets():
            instance.let_go(packet.root, self.now)
            packet.root.released = True
            held.append(packet)
        held += self._close_turns()
        for packet in sorted(held, key=Packet.order):
            self.conclude(packet, "sent")

    def _close_turns(self) -> list[Packet]:
        """Packets needn't wait any more for others of their flows. Returns those that did."""
        waited = []
        for state in self.in_turns:
            if state.turns is not None:
                waited += state.turns.close(self.now)
                state.turns = None
        self.in_turns.clear()
        return waited

    def wake(self, instance: PolicyInstance, signal: Signal | None = None) -> None:
        """Call the policy's `on_wake`, or with a signal its `on_signal`, and carry out the answer."""
        if instance.version != self.version and instance.place.made_by is self.instances:
            self._update(instance)
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
                        instance.place.counts.changed = True
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
        if (root.cut_short or root.released) and root.holder is not instance:
            return False  # it went on before its policy said so
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
        raise PolicyError(f"{action!r}: {instance.place.name} does not hold this packet; {can}")

    def _send(self, instance: PolicyInstance, packet: Packet, at: int | None) -> None:
        if at is None or at <= self.now:
            self.go_on(instance, packet)
            return
        root = packet.origin or packet
        if at > root.arrived + self._max_hold:
            self._cut_short(root)
            at = max(root.arrived + self._max_hold, self.now)
        instance.take(root, self.now)
        if instance.place.is_last:
            packet.forget_headers()
        root.plan = self.agenda.add(at, instance, packet)

    def _drop(self, instance: PolicyInstance, packet: Packet) -> None:
        packet.root.by = instance.place.name
        if packet.id:
            instance.place.counts.dropped += 1
        else:
            instance.place.counts.changed = True
        self.conclude(packet, "dropped")

    def _duplicate(self, instance: PolicyInstance, packet: Packet, at: int | None) -> None:
        twin = packet.copy()
        self._adopt(instance, twin)
        self._send(instance, twin, at)

    def _adopt(self, instance: PolicyInstance, packet: Packet) -> None:
        """Take over a packet that a policy made: it arrives when it is sent or held."""
        root = packet.root
        root.arrived = root.taken = self.now
        root.by = instance.place.name
        instance.place.counts.injected += 1
        state = self._connections.find(packet, self.now)
        if root.flow_state is None:
            root.flow_state = state
        if state.version != self.version:
            self.admit(packet, state)
        state.inside += 1

    def _hold(self, instance: PolicyInstance, packet: Packet) -> None:
        root = packet.root
        latest = root.arrived + self._max_hold
        if latest > self.now:
            instance.take(root, self.now)
            instance.keep(root, packet)
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
