"""A seat: one policy object at its stage, with the packets it holds."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from typing import NamedTuple

from shaper.action import Drop, Hold, Send, Wake
from shaper.errors import ShaperError
from shaper.packet import Packet
from shaper.policy import Policy
from shaper.segment import CLASSES


class PolicyError(Exception):
    """A policy said something that can't be done."""


FAULTS = (Exception, SystemExit)
"""What a hook may raise and only its policy fails; KeyboardInterrupt is the user's."""

MOST_ACTIONS = 1 << 17
"""The most in one answer: twice what the kernel's queue holds. An answer with more may have no end."""


class PoliciesFailed(ShaperError):
    """Policies failed while packets went on; one line for the first."""

    def __init__(self, failures: Sequence[Failure]) -> None:
        more = f" (and {len(failures) - 1} more failures)" if len(failures) > 1 else ""
        super().__init__(f"{failures[0]}{more}")
        self.details = "\n".join(failure.details for failure in failures)


class Failure(NamedTuple):
    """A policy that failed, and where in its file."""

    policy: str
    where: str  # file:line
    what: str
    details: str  # the traceback

    def __str__(self) -> str:
        return f"policy {self.policy} failed at {self.where}: {self.what}"


class Seat:
    """Where packets meet one policy object.

    Attributes:
        held: packets kept until the policy says more, in the order of their holding.
        wake: the time of the pending Wake, in ns.
        wakes: how often in a row it asked, when woken, to be woken again at once.
        selects: some packets pass by the policy, see `shapes`; most policies see them all.
        limited: the policy may hold so much only, see `is_full`.
    """

    __slots__ = (
        "_bytes", "_packets",
        "held", "is_failed", "limited", "name", "policy", "selects", "stage", "wake", "wakes",
    )  # fmt: skip

    def __init__(self, policy: Policy, name: str, stage: int) -> None:
        self.policy = policy
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
        if self.is_failed or packet.segment not in policy.only:
            return False
        return policy.direction in ("both", packet.direction)

    def is_full(self, packet: Packet) -> bool:
        """Whether holding this packet too would go beyond the policy's `limit`."""
        packets, size = self.policy.limit
        return (packets is not None and self._packets >= packets) or (
            size is not None and self._bytes + packet.length > size
        )

    def take(self, packet: Packet, now: int, *, until_told: bool = False) -> None:
        """Keep the packet: until a planned time, or until the policy says more."""
        root = packet.origin or packet
        root.holder = self
        root.since = now
        if self.limited:
            self._packets += 1
            self._bytes += root.length
        if until_told:
            self.held[root] = packet

    def let_go(self, packet: Packet, now: int) -> None:
        """The packet is no longer kept; what it waited is noted on it."""
        root = packet.origin or packet
        root.holder = None
        root.plan = 0
        if self.limited:
            self._packets -= 1
            self._bytes -= root.length
        if self.held:
            self.held.pop(root, None)
        root.note_hold(self.name, now - root.since)

    def release(self, now: int) -> list[Packet]:
        """Let go of all that is kept until the policy says more, in order of arrival."""
        packets = sorted(self.held.values(), key=Packet.order)
        for packet in packets:
            self.let_go(packet, now)
        return packets

    def failed(self, error: Exception | SystemExit, hook: str) -> Failure:
        """The policy is out of service; packets pass by it from now on."""
        failure = failure_of(self.policy, self.name, error, hook)
        self.is_failed = self.selects = True
        self.wake = None
        # It may have failed for want of memory, so what it gathered goes.
        self.policy = Policy()
        return failure


def seat_for(prototype: Policy, name: str, stage: int, identity: str) -> tuple[Seat, Failure | None]:
    """A seat with a fresh object of this policy; out of service, with the reason, if that can't start."""
    try:
        return Seat(prototype.fresh(identity), name, stage), None
    except FAULTS as error:
        seat = Seat(prototype, name, stage)
        return seat, seat.failed(error, "start")


def check(answer: Sequence[object]) -> None:
    """Raises PolicyError unless each is an action with fit arguments."""
    for action in answer:
        if isinstance(action, Send | Drop | Hold):
            if not isinstance(action.packet, Packet):
                raise PolicyError(f"{type(action).__name__} takes a packet, not {action.packet!r}")
        elif not isinstance(action, Wake):
            raise PolicyError(f"returned {action!r}; a hook returns Send, Drop, Hold, Wake, several of these, or None")
        at = action.at if isinstance(action, Send | Wake) else 0
        if not isinstance(at, int) and not (at is None and isinstance(action, Send)):
            verb = type(action).__name__
            raise PolicyError(f"{verb} takes its time as int nanoseconds, such as now + 20 * ms, not {at!r}")


def failure_of(policy: Policy, name: str, error: Exception | SystemExit, hook: str) -> Failure:
    """Says where in the policy's own file it went wrong; at least which hook it was."""
    code = getattr(policy, hook).__code__
    files = {code.co_filename, getattr(sys.modules.get(type(policy).__module__), "__file__", None)}
    own = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename in files]
    where = f"{own[-1].filename}:{own[-1].lineno}" if own else f"{code.co_filename}:{code.co_firstlineno}"
    what = str(error) if isinstance(error, PolicyError) else f"{type(error).__name__}: {error}"
    return Failure(name, where, what, "".join(traceback.format_exception(error)))
