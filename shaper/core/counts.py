"""Counts: how many packets were taken, what became of them, and what each stage did."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from shaper.core.failure import Failure
from shaper.policy.base import Policy, format_classes
from shaper.units import format_share
from shaper.wire.segment import CLASSES


class Counts:
    """The counts of one core so far.

    Attributes:
        taken: packets received.
        sent: those of them that went on.
        dropped: those that were dropped, for whatever reason.
        overflowed: those that were dropped because a policy's `limit` was reached.
        injected: packets that policies made, duplicates and new ones, and that were sent.
        cut_short: packets sent earlier than planned, because `max_hold` was reached.
    """

    __slots__ = ("cut_short", "dropped", "injected", "overflowed", "sent", "taken")

    def __init__(self) -> None:
        self.taken = self.sent = self.dropped = self.overflowed = self.injected = self.cut_short = 0

    @property
    def held(self) -> int:
        """Packets that wait for their verdict."""
        return self.taken - self.sent - self.dropped


class StageCounts:
    """What one stage of the pipeline has done so far, with all its policy objects.

    Attributes:
        dropped: packets taken that it dropped, those beyond its `limit` included.
        held: packets that it held.
        injected: packets that it made.
        changed: whether it changed a packet, or dropped one that a policy had made.
        met: whether a packet was for it; known only of a policy that leaves packets out (see `selection`).
    """

    __slots__ = ("changed", "dropped", "held", "injected", "met")

    def __init__(self) -> None:
        self.dropped = self.held = self.injected = 0
        self.changed = self.met = False

    @property
    def touched(self) -> bool:
        """Whether it held, dropped, changed or made a packet."""
        return self.changed or self.dropped + self.held + self.injected > 0


class StageUse(NamedTuple):
    """A stage at the end of a run: its counts, and as a text which packets its policy selects, "" for all."""

    dropped: int
    touched: bool
    met: bool
    selection: str
    held: int = 0
    injected: int = 0


def dropped_by(stages: Mapping[str, StageUse]) -> dict[str, int]:
    """How many packets each stage dropped, by its name; those that dropped none are left out."""
    return {name: use.dropped for name, use in stages.items() if use.dropped}


def touched_nothing(stages: Mapping[str, StageUse], taken: int, failures: Iterable[Failure]) -> dict[str, str]:
    """The stages that neither held, dropped, changed nor made a packet, by name, each with the reason.

    Args:
        stages: by name.
        taken: how many packets came.
        failures: stages that failed are left out, since their failures say more.
    """
    failed = {failure.policy for failure in failures}
    reasons = {}
    for name, use in stages.items():
        if use.touched or name in failed:
            continue
        if not taken:
            reasons[name] = "no packet came"
        elif use.selection and not use.met:
            reasons[name] = f"no packet matched {use.selection}"
        else:
            reasons[name] = "it held, dropped, changed and made no packet"
    return reasons


def selection(policy: Policy) -> str:
    """Which packets the policy selects, as options: "only=syn, direction=reply"; "" for all."""
    options = []
    if len(policy.only) < len(CLASSES):
        options.append(f"only={format_classes(policy.only)}")
    if policy.direction != "both":
        options.append(f"direction={policy.direction}")
    if policy.connections < 1:
        options.append(f"connections={format_share(policy.connections)}")
    return ", ".join(options)
