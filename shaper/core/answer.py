"""Answers: what a hook returned, checked to be actions."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from shaper.core.failure import PolicyError
from shaper.policy.action import Action, Drop, Hold, Send, Wake
from shaper.wire.packet import Packet

MOST_ACTIONS = 1 << 17
"""The most actions in one answer: twice what the kernel's queue holds. An answer with more may be endless."""
ONE_MISTAKE = (str, bytes, bytearray, dict)
"""What can be iterated over, but is never meant as several actions."""
LONGEST = 80
"""The most characters of a wrong answer that are quoted."""


def actions_of(answer: Action | Iterable[Action]) -> tuple[Action, ...]:
    """The actions of an answer, in its order.

    Raises:
        PolicyError: it contains anything else, or more than MOST_ACTIONS.
    """
    if isinstance(answer, ONE_MISTAKE):
        raise _senseless(_brief(answer))
    actions = tuple(islice(answer, MOST_ACTIONS + 1)) if isinstance(answer, Iterable) else (answer,)
    if len(actions) > MOST_ACTIONS:
        raise PolicyError(f"answered with more than {MOST_ACTIONS} actions")
    for action in actions:
        _check(action, answer)
    return actions


def _check(action: object, answer: object) -> None:
    """Raises PolicyError unless this, the answer or one of its actions, is an action with arguments of right types."""
    if isinstance(action, Send | Drop | Hold):
        if not isinstance(action.packet, Packet):
            raise PolicyError(f"{type(action).__name__} takes a packet, not {_brief(action.packet)}")
    elif not isinstance(action, Wake):
        what = _brief(action)
        raise _senseless(what if action is answer else f"a {type(answer).__name__} with {what} in it")
    at = action.at if isinstance(action, Send | Wake) else 0
    if not isinstance(at, int) and not (at is None and isinstance(action, Send)):
        verb = type(action).__name__
        raise PolicyError(f"{verb} takes its time as int nanoseconds, such as now + 20 * ms, not {_brief(at)}")


def _senseless(what: str) -> PolicyError:
    return PolicyError(f"returned {what}; a hook returns Send, Drop, Hold, Wake, several of these, or None")


def _brief(value: object) -> str:
    text = repr(value)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
