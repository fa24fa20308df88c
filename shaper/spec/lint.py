"""Mistakes in a policy that can be found before it runs."""

from __future__ import annotations

import ast
from collections import deque
from difflib import get_close_matches
from inspect import get_annotations
from typing import Any

from shaper.policy.base import Policy
from shaper.policy.chance import Distribution
from shaper.policy.options import HasOptions, assigned, options_of
from shaper.units import Limit
from shaper.wire.segment import CLASSES

HOOKS = ("start", "on_packet", "on_wake", "on_signal", "on_change")


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
    mistake = unannotated(policy)
    if mistake:
        return mistake
    try:
        options_of(policy)
    except TypeError as error:
        return str(error)
    except NameError as error:
        return f"an annotation in {policy.__name__} can't be read: {error}"
    return None


def unannotated(kind: type[HasOptions]) -> str | None:
    """Which attribute of this class would be an option if it had an annotation, in one line; None if none would.

    Names in capitals are constants, and attributes of base classes may be set again without an annotation.
    """
    for nth, base in enumerate(kind.__mro__, 1):
        known = {name for other in kind.__mro__[nth:] for name in (*vars(other), *get_annotations(other))}
        own = get_annotations(base)
        # A copy: since Python 3.14 a class gets attributes of its own while its annotations are read.
        for name, value in dict(vars(base)).items():
            is_other = name.startswith("_") or name.isupper() or name in known or name in own
            if not is_other and not callable(value) and not hasattr(value, "__get__"):
                return f"{kind.__name__}.{name} has no annotation, so it is no option: {_annotated(base, name, value)}"
    return None


def _annotated(base: type, name: str, value: object) -> str:
    """What to write instead."""
    expression = assigned(base, name)
    written = repr(value) if expression is None else ast.unparse(expression)
    words = {getattr(node, "id", getattr(node, "attr", "")) for node in ast.walk(expression)} if expression else set()
    annotation = _annotation_for(value, is_duration=bool(words & {"ns", "us", "ms", "s"}))
    if annotation is None:
        return f"call it _{name}, or set self._{name} in start()"
    return f"write {name}: {annotation} = {written}, or call it _{name}"


def _annotation_for(value: object, *, is_duration: bool) -> str | None:
    """The type of an option with this default; None if no type has such values."""
    if isinstance(value, frozenset):
        return "Classes" if value <= set(CLASSES) else "Numbers"
    if isinstance(value, float):
        return "Share" if 0 <= value <= 1 else "float"
    if type(value) is int and is_duration:
        return "Duration"
    names = {bool: "bool", int: "int", str: "str", Limit: "Bound", Distribution: "Shape"}
    return names.get(type(value))


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
