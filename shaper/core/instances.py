"""Instances: the policy objects that packets meet, one at each stage, and the packets that they hold."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from random import Random
from types import MethodType
from typing import Any, Final

from shaper.core.counts import StageCounts
from shaper.core.failure import FAULTS, Failure, Failures, PolicyError, failure_of
from shaper.policy.base import Policy
from shaper.units import Limit
from shaper.wire.flow import Flow
from shaper.wire.packet import Packet
from shaper.wire.segment import CLASSES

NEVER: Final = (1 << 62) - 1
"""A time (ns) that never comes, in 2116; compiled code compares larger numbers much more slowly."""
WAKES_IN_A_ROW = 1000
"""How often in a row a woken object may ask to be woken again at once; more often is an endless loop."""
AT_ONCE = 100
"""A wake within this time (ns) counts as one at once: no engine is quicker, so nothing else could happen before."""
NO_LIMIT: Final = Limit()
NOTHING_HELD: Final[dict[Packet, Packet]] = {}
"""What an instance holds that has never kept a packet; nothing is ever put into it."""


class Identity:
    """What names a connection: its text has protocol, addresses, service port, and number.

    It is the same in every run, whatever port the client got. Without a number it is empty.

    Attributes:
        key: the flow key of the connection's original direction.
        nth: counts the connections between these addresses to this service.
    """

    __slots__ = ("key", "nth")

    def __init__(self, key: bytes, nth: int) -> None:
        self.key = key
        self.nth = nth

    def __str__(self) -> str:
        if not self.nth:
            return ""
        flow = Flow.of_key(self.key)
        return f"{flow.protocol} {flow.source} > {flow.destination} {flow.dport} #{self.nth}"


class Place:
    """What all instances at one stage have in common.

    Attributes:
        name: of the stage.
        stage: its place in the pipeline, from 0.
        is_last: whether it is the last one.
        made_by: the `Instances` that these are of.
        counts: what the stage has done, with all its instances.
    """

    __slots__ = ("counts", "is_last", "made_by", "name", "stage")

    def __init__(
        self, name: str, stage: int, counts: StageCounts, made_by: Instances | None = None, *, is_last: bool = True
    ) -> None:
        self.name = name
        self.stage = stage
        self.counts = counts
        self.made_by = made_by
        self.is_last = is_last


class PolicyInstance:
    """One policy object at work.

    Attributes:
        policy: the object.
        place: what it has in common with the others at its stage.
        version: of the pipeline, whose options the object has.
        held: packets held until a later answer sends or drops them, in the order in which they were held.
            The key is the packet as taken, the value as the policy rewrote it.
        wake: the time of the pending Wake, in ns; None without one.
        plan: the number of the agenda's entry that wakes it.
        wakes: how often in a row it asked, when woken, to be woken again at once.
        is_failed: it raised an error, and packets pass it now.
        hook: the policy's `on_packet`, to be called with the policy, the packet and the time; all objects share it.
        hold: how long (ns) it holds every packet without being asked, see `Policy.constant_hold`; -1 if it is asked.
        selects: whether some packets pass the policy, see `shapes`; most policies see all packets.
        limited: whether the policy has a `limit`, see `is_full`.
    """

    __slots__ = (
        "_bytes", "_packets",
        "held", "hold", "hook", "is_failed", "limited", "place", "plan", "policy", "selects", "version", "wake",
        "wakes",
    )  # fmt: skip

    def __init__(self, policy: Policy, place: Place) -> None:
        self.policy = policy
        self.hook = hook_of(policy)
        self.hold = hold_of(policy, self.hook)
        self.place = place
        self.version = place.made_by.version if place.made_by is not None else 0
        self.held = NOTHING_HELD
        self.wake: int | None = None
        self.plan = 0
        self.wakes = 0
        self.is_failed = False
        self._packets = self._bytes = 0
        self.limited = policy.limit != NO_LIMIT
        self.selects = selects(policy)

    def shapes(self, packet: Packet) -> bool:
        """Whether the policy sees this packet; other packets pass it."""
        policy = self.policy
        if self.is_failed or packet.kind not in policy.only:
            return False
        return policy.direction in ("both", packet.direction)

    @property
    def is_idle(self) -> bool:
        """Whether no packet of its flow is anything to it: its policy does nothing, or doesn't shape the connection."""
        if is_left_out(self) or self.is_failed:
            return True
        return self.hook is NOTHING and not self.limited and not self.selects

    @property
    def holds_all(self) -> bool:
        """Whether it holds each packet, and for the same time."""
        return self.hold > 0 and not self.limited and not self.selects

    def is_full(self, packet: Packet) -> bool:
        """Whether holding this packet as well would exceed the policy's `limit`."""
        packets, size = self.policy.limit
        return (packets is not None and self._packets >= packets) or (
            size is not None and self._bytes + packet.length > size
        )

    def take(self, root: Packet, now: int) -> None:
        """Hold a packet, given as it was taken, from `now` on."""
        root.holder = self
        root.since = now
        noted = root.noted
        if not noted or noted[-1][0] != self.place.name:
            self.place.counts.held += 1
        if self.limited:
            self._packets += 1
            self._bytes += root.length

    def let_go(self, root: Packet, now: int) -> None:
        """Hold a packet no longer, and record on it how long it was held."""
        root.holder = None
        if self.limited:
            self._packets -= 1
            self._bytes -= root.length
        if self.held:
            self.held.pop(root, None)
        # By far the most common, a packet's first hold, takes no call.
        if root.noted:
            root.note_hold(self.place.name, now - root.since)
        else:
            root.noted = ((self.place.name, now - root.since),)

    def keep(self, root: Packet, packet: Packet) -> None:
        """Hold a packet until a later answer: `root` is the packet as taken, `packet` as the policy rewrote it."""
        if self.held is NOTHING_HELD:
            self.held = {}
        self.held[root] = packet

    def count(self, packets: Iterable[Packet]) -> None:
        """These, as taken, are all that it holds: it has a `limit` from now on."""
        if not self.limited:
            self.limited = True
            for root in packets:
                self._packets += 1
                self._bytes += root.length

    def change(self, prototype: Policy, names: Collection[str], version: int) -> None:
        """Give these options of its object the values that they have in the prototype, and tell the object.

        Raises:
            Exception: what its `on_change` raises.
        """
        self.version = version
        if not names or self.is_failed or is_left_out(self):
            return
        policy = self.policy
        for name in names:
            setattr(policy, name, getattr(prototype, name))
        self.limited = self.limited or policy.limit != NO_LIMIT
        self.selects = selects(policy)
        policy.on_change(names)
        self.hold = hold_of(policy, self.hook)

    def plan_wake(self, at: int, now: int, *, is_woken: bool) -> int:
        """When to wake it (ns), after it asked for `at`.

        Args:
            at: the time of its Wake, in ns.
            now: the time, in ns.
            is_woken: whether it asked when it was woken, not when it got a packet.

        Raises:
            PolicyError: each time it was woken it asked to be woken again at once.
        """
        self.wakes = self.wakes + 1 if is_woken and at < now + AT_ONCE else 0
        if self.wakes > WAKES_IN_A_ROW:
            raise PolicyError(f"asked {WAKES_IN_A_ROW} times in a row to be woken at once, so time can't go on")
        return min(max(at, now), NEVER - 1)

    def release(self, now: int) -> list[Packet]:
        """Let go of all packets in `held`, and return them in order of arrival."""
        packets = sorted(self.held.values(), key=Packet.order)
        for packet in packets:
            packet.root.plan = 0
            self.let_go(packet.root, now)
        return packets

    def failed(self, error: Exception | SystemExit, hook: str) -> Failure:
        """Take the policy out of service: packets pass it from now on. Returns its failure (see `failure_of`)."""
        kind = type(self.policy)
        self.is_failed = self.selects = True
        self.wake, self.plan = None, 0
        # It may have failed because memory ran out, so its state is freed before anything else is done.
        self.policy = Policy()
        self.hook = hook_of(self.policy)
        self.hold = -1
        return failure_of(kind, self.place.name, error, hook)


NO_INSTANCES: Final[dict[int, PolicyInstance]] = {}
"""What the directions of a connection share while no policy works on both; nothing is ever put into it."""


class Instances:
    """Makes policy objects for flows, connections or the whole queue, as `scope` says.

    When another pipeline has replaced this one, it keeps those that held packets of flows still need.

    Attributes:
        version: of the pipeline, whose options new objects have.

    Args:
        prototypes, names, counts: the policies of the pipeline, the names of their stages, and what these have done.
        seed: decides all chance.
        failures: gets the failures of policies that can't start.
        version: see the attribute.
    """

    def __init__(
        self,
        prototypes: Sequence[Policy],
        names: Sequence[str],
        counts: Sequence[StageCounts],
        seed: int | str,
        failures: Failures,
        version: int = 0,
    ) -> None:
        self._stages = list(enumerate(prototypes))
        self._places = [
            Place(name, stage, counts[stage], self, is_last=stage + 1 == len(names)) for stage, name in enumerate(names)
        ]
        self._seeds = [f"{seed}|{stage}|{type(policy).__name__}" for stage, policy in enumerate(prototypes)]
        self._failures = failures
        self._of_queue: dict[int, PolicyInstance] = {}
        self.kept: dict[object, tuple[PolicyInstance, ...]] = {}
        self.version = version

    @property
    def shares(self) -> bool:
        """Whether some policy has objects that the two directions of a connection share."""
        return any(policy.scope == "connection" for _, policy in self._stages)

    def of(
        self,
        connection: Identity,
        direction: str,
        shared: dict[int, PolicyInstance],
        before: Sequence[PolicyInstance] = (),
    ) -> tuple[PolicyInstance, ...]:
        """The instances that the packets of one flow meet, one for each stage.

        Args:
            connection: its identity; policies see nothing of one without a number.
            direction: of the flow.
            shared: by stage, the instances that both directions of the connection share; new ones are added.
            before: those that they met so far, and go on meeting if their policies still shape this connection.
        """
        return tuple(
            [
                self._instance(stage, policy, connection, direction, shared, before[stage] if before else None)
                for stage, policy in self._stages
            ]
        )

    def _instance(
        self,
        stage: int,
        policy: Policy,
        connection: Identity,
        direction: str,
        shared: dict[int, PolicyInstance],
        before: PolicyInstance | None,
    ) -> PolicyInstance:
        passes = policy.connections < 1 and not is_chosen(f"{self._seeds[stage]}|{connection}", policy.connections)
        if passes or not connection.nth:
            return PolicyInstance(Policy(only=frozenset()), self._places[stage])
        if before is not None and not is_left_out(before):
            return before
        if policy.scope == "flow":
            return self._start(stage, policy, connection, direction)
        instances = self._of_queue if policy.scope == "queue" else shared
        if stage not in instances:
            # One without `shared`, so that nothing refers to itself in a circle, which only the collector would free.
            whose = "" if policy.scope == "queue" else Identity(connection.key, connection.nth)
            instances[stage] = self._start(stage, policy, whose, "")
        return instances[stage]

    def _start(self, stage: int, prototype: Policy, whose: object, direction: str) -> PolicyInstance:
        """An instance with a fresh object of this policy; out of service if its `start` fails."""
        try:
            return PolicyInstance(prototype.fresh(self._seeds[stage], whose, direction), self._places[stage])
        except FAULTS as error:
            instance = PolicyInstance(prototype, self._places[stage])
            self._failures.append(instance.failed(error, "start"))
            return instance


NOTHING: Final[Callable[..., Any]] = Policy.on_packet
"""The hook of a policy that does nothing with packets: it isn't called."""


def hook_of(policy: Policy) -> Callable[..., Any]:
    """The policy's `on_packet` as `PolicyInstance.hook`. A method bound to each object would take 64 bytes a flow."""
    bound = policy.on_packet
    if isinstance(bound, MethodType) and bound.__self__ is policy:
        return bound.__func__
    return lambda _, packet, now: bound(packet, now)


def hold_of(policy: Policy, hook: Callable[..., Any]) -> int:
    """The policy's `constant_hold` as `PolicyInstance.hold`; -1 also if the object has an `on_packet` of its own."""
    hold = policy.constant_hold
    return -1 if hold is None or hook is not type(policy).on_packet else max(hold, 0)


def selects(policy: Policy) -> bool:
    """Whether some packets pass the policy."""
    return len(policy.only) < len(CLASSES) or policy.direction != "both" or policy.connections < 1


def is_left_out(instance: PolicyInstance) -> bool:
    """Whether it stands for a policy that doesn't shape this connection, see `Policy.connections`."""
    return not instance.policy.only


def is_chosen(identity: str, share: float) -> bool:
    """Whether a connection is among the share that a policy shapes; both directions give the same answer."""
    return Random(f"{identity}|connections").random() < share


def stage_names(pipeline: Sequence[Policy]) -> tuple[str, ...]:
    """A name for each stage; the second `delay` is "delay#2"."""
    names: list[str] = []
    for policy in pipeline:
        nth = 1 + sum(1 for name in names if name.split("#")[0] == policy.name)
        names.append(f"{policy.name}#{nth}" if nth > 1 else policy.name)
    return tuple(names)
