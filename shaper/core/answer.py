"""Answers: what a hook returned, checked to be actions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice

from shaper.core.failure import PolicyError
from shaper.policy.action import Action, Drop, Hold, Send, Wake
from shaper.wire.packet import Packet

MOST_ACTIONS = 1 << 17
"""The most actions in one answer: twice what the kernel's queue holds. An answer with more may be endless."""


def actions_of(answer: Action | Iterable[Action]) -> tuple[Action, ...]:
    """The actions of an answer, in its order.

    Raises:
        PolicyError: it contains anything else, or more than MOST_ACTIONS.
    """
    actions = tuple(islice(answer, MOST_ACTIONS + 1)) if isinstance(answer, Iterable) else (answer,)
    if len(actions) > MOST_ACTIONS:
        raise PolicyError(f"answered with more than {MOST_ACTIONS} actions")
    _check(actions)
    return actions


def _check(answer: Sequence[object]) -> None:
    """Raises PolicyError unless each is an action with arguments of the right types."""
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
