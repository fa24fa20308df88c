"""Instances: the policy objects that packets meet, one at each stage, with the packets they hold."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Final

from shaper.core.failure import FAULTS, Failure, Failures, PolicyError, failure_of
from shaper.policy.base import Policy
from shaper.wire.packet import Packet
from shaper.wire.segment import CLASSES

NEVER: Final = (1 << 62) - 1
"""A time (ns) that doesn't come, in 2116; what is larger takes compiled code much longer to compare."""
WAKES_IN_A_ROW = 1000
"""How often an object that was woken may ask to be woken again at once, before that counts as an endless loop."""
AT_ONCE = 100
"""A wake so soon (ns) is one at once: no engine is that quick, so it would never come to anything else."""


class PolicyInstance:
    """Where packets meet one policy object.

    Attributes:
        held: packets kept until the policy says more, in the order of their holding.
        wake: the time of the pending Wake, in ns.
        wakes: how often in a row it asked, when woken, to be woken again at once.
        on_packet: the policy's hook.
        selects: some packets pass by the policy, see `shapes`; most policies see them all.
        limited: the policy may hold so much only, see `is_full`.
    """

    __slots__ = (
        "_bytes", "_packets",
        "held", "is_failed", "limited", "name", "on_packet", "policy", "selects", "stage", "wake", "wakes",
    )  # fmt: skip

    def __init__(self, policy: Policy, name: str, stage: int) -> None:
        self.policy = policy
        self.on_packet = policy.on_packet
        self.name = name
        self.stage = stage
        self.held: dict[Packet, Packet] = {}
        self.wake: int | None = None
        self.wakes = 0
        self.is_failed = False
        self._packets = self._bytes = 0
        self.limited = policy.limit != (None, None)
        self.selects = len(policy.only) < len(CLASSES) or policy.direction != "both"

    def shapes(self, packet: Packet) -> bool:
        """Whether the policy is to see this packet; others pass by."""
        policy = self.policy
        if self.is_failed or packet.kind not in policy.only:
            return False
        return policy.direction in ("both", packet.direction)

    def is_full(self, packet: Packet) -> bool:
        """Whether holding this packet too would go beyond the policy's `limit`."""
        packets, size = self.policy.limit
        return (packets is not None and self._packets >= packets) or (
            size is not None and self._bytes + packet.length > size
        )

    def take(self, root: Packet, now: int) -> None:
        """Keep a packet, given as it was taken from the kernel."""
        root.holder = self
        root.since = now
        if self.limited:
            self._packets += 1
            self._bytes += root.length

    def let_go(self, root: Packet, now: int) -> None:
        """A packet is no longer kept; what it waited is noted on it."""
        root.holder = None
        if self.limited:
            self._packets -= 1
            self._bytes -= root.length
        if self.held:
            self.held.pop(root, None)
        # The first hold, by far the most common, without a call.
        if root.noted:
            root.note_hold(self.name, now - root.since)
        else:
            root.noted = ((self.name, now - root.since),)

    def plan_wake(self, at: int, now: int, *, is_woken: bool) -> int:
        """When to wake it, which asked for `at`.

        Raises:
            PolicyError: it was woken and asked to be woken at once, again and again.
        """
        self.wakes = self.wakes + 1 if is_woken and at < now + AT_ONCE else 0
        if self.wakes > WAKES_IN_A_ROW:
            raise PolicyError(f"asked {WAKES_IN_A_ROW} times in a row to be woken at once, so time can't go on")
        return min(max(at, now), NEVER - 1)

    def release(self, now: int) -> list[Packet]:
        """Let go of all that is kept until the policy says more, in order of arrival."""
        packets = sorted(self.held.values(), key=Packet.order)
        for packet in packets:
            packet.root.plan = 0
            self.let_go(packet.root, now)
        return packets

    def failed(self, error: Exception | SystemExit, hook: str) -> Failure:
        """The policy is out of service; packets pass by it from now on."""
        kind = type(self.policy)
        self.is_failed = self.selects = True
        self.wake = None
        # It may have failed for want of memory, so what it gathered goes, before anything else is done.
        self.policy = Policy()
        self.on_packet = self.policy.on_packet
        return failure_of(kind, self.name, error, hook)


class Instances:
    """Makes policy objects as flows, connections or the queue need them, as `scope` says.

    Args:
        prototypes, names: the policies of the pipeline, and what they are called.
        seed: decides all chance.
        failures: where policies that can't start are told of.
    """

    def __init__(self, prototypes: Sequence[Policy], names: Sequence[str], seed: int | str, failures: Failures) -> None:
        self._stages = list(enumerate(zip(prototypes, names, strict=True)))
        self._seed = seed
        self._failures = failures
        self._of_queue: dict[int, PolicyInstance] = {}

    def of(self, connection: str, direction: str, shared: dict[int, PolicyInstance]) -> list[PolicyInstance]:
        """What the packets of one flow meet, stage by stage.

        Args:
            connection: its identity, see `Connection`.
            direction: the flow's.
            shared: the instances, by stage, that both directions of the connection share; new ones are added.
        """
        return [
            self._instance(stage, policy, name, connection, direction, shared) for stage, (policy, name) in self._stages
        ]

    def close(self) -> None:
        """Make no more objects, and forget those that all flows share."""
        self._stages.clear()
        self._of_queue.clear()

    def _instance(
        self,
        stage: int,
        policy: Policy,
        name: str,
        connection: str,
        direction: str,
        shared: dict[int, PolicyInstance],
    ) -> PolicyInstance:
        identity = f"{self._seed}|{stage}|{type(policy).__name__}"
        if policy.connections < 1 and not is_chosen(f"{identity}|{connection}", policy.connections):
            return PolicyInstance(Policy(only=frozenset()), name, stage)
        instances = self._of_queue
        if policy.scope != "queue":
            identity += f"|{connection}"
            instances = shared
        if policy.scope == "flow":
            identity += f"|{direction}"
            instances = {}
        if stage not in instances:
            instances[stage] = self._start(policy, name, stage, identity)
        return instances[stage]

    def _start(self, prototype: Policy, name: str, stage: int, identity: str) -> PolicyInstance:
        """An instance with a fresh object of this policy; out of service if that can't start."""
        try:
            return PolicyInstance(prototype.fresh(identity), name, stage)
        except FAULTS as error:
            instance = PolicyInstance(prototype, name, stage)
            self._failures.append(instance.failed(error, "start"))
            return instance


def is_chosen(identity: str, share: float) -> bool:
    """Whether this connection is among the share of them that a policy shapes; the same in both directions."""
    return Random(f"{identity}|connections").random() < share


def stage_names(pipeline: Sequence[Policy]) -> tuple[str, ...]:
    """A name for each stage; the second `delay` is "delay#2"."""
    names: list[str] = []
    for policy in pipeline:
        nth = 1 + sum(1 for name in names if name.split("#")[0] == policy.name)
        names.append(f"{policy.name}#{nth}" if nth > 1 else policy.name)
    return tuple(names)
