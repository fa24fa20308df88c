"""Seating: which policy object the packets of a flow meet at each stage of the pipeline."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from shaper.core.connections import Track
from shaper.core.failure import FAULTS, Failures
from shaper.core.instances import Seat
from shaper.policy.base import Policy


class Seating:
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
        self._queue_seats: dict[int, Seat] = {}

    def of(self, track: Track) -> list[Seat]:
        """Where the packets of this flow sit, stage by stage."""
        return [self._seat(track, stage, policy, name) for stage, (policy, name) in self._stages]

    def close(self) -> None:
        """Make no more objects, and forget those that all flows share."""
        self._stages.clear()
        self._queue_seats.clear()

    def _seat(self, track: Track, stage: int, policy: Policy, name: str) -> Seat:
        connection = track.connection
        identity = f"{self._seed}|{stage}|{type(policy).__name__}"
        if policy.connections < 1 and not is_chosen(f"{identity}|{connection.identity}", policy.connections):
            return Seat(Policy(only=frozenset()), name, stage)
        seats = self._queue_seats
        if policy.scope != "queue":
            identity += f"|{connection.identity}"
            seats = connection.seats
        if policy.scope == "flow":
            identity += f"|{track.direction}"
            seats = {}
        if stage not in seats:
            seats[stage] = self._start(policy, name, stage, identity)
        return seats[stage]

    def _start(self, prototype: Policy, name: str, stage: int, identity: str) -> Seat:
        """A seat with a fresh object of this policy; out of service if that can't start."""
        try:
            return Seat(prototype.fresh(identity), name, stage)
        except FAULTS as error:
            seat = Seat(prototype, name, stage)
            self._failures.append(seat.failed(error, "start"))
            return seat


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
