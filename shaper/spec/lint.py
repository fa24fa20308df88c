"""Mistakes in a policy that can be found before it runs."""

from __future__ import annotations

from collections import deque
from difflib import get_close_matches
from typing import Any

from shaper.policy.base import Policy
from shaper.policy.options import options_of

HOOKS = ("start", "on_packet", "on_wake", "on_signal")


def lint(policy: type[Policy]) -> str | None:
    """What is wrong with this policy, in one line; None if nothing is."""
    for base in policy.__mro__:
        if base is Policy:
            break
        for name, value in vars(base).items():
            mistake = (
                _former_name(policy, name) or _mistyped_hook(policy, name, value) or _shared_state(policy, name, value)
            )
            if mistake:
                return mistake
    try:
        options_of(policy)
    except TypeError as error:
        return str(error)
    except NameError as error:
        return f"an annotation in {policy.__name__} can't be read: {error}"
    return None


def _former_name(policy: type[Policy], name: str) -> str | None:
    return f"{policy.__name__}.holds is called can_hold now; rename it" if name == "holds" else None


def _mistyped_hook(policy: type[Policy], name: str, value: Any) -> str | None:
    if not callable(value) or name in HOOKS or name.startswith("_") or isinstance(value, type):
        return None
    close = get_close_matches(name, HOOKS, n=1, cutoff=0.75)
    if close or name.startswith("on_"):
        meant = f" (did you mean '{close[0]}'?)" if close else ""
        return f"{policy.__name__} has no hook '{name}'{meant}; the hooks are {', '.join(HOOKS)}"
    return None


def _shared_state(policy: type[Policy], name: str, value: Any) -> str | None:
    if name.startswith("__") or not isinstance(value, list | dict | set | bytearray | deque):
        return None
    return (
        f"{policy.__name__}.{name} is a {type(value).__name__} that all flows would share; "
        f"set self.{name} in start() instead"
    )
