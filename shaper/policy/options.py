"""The options of a policy: its public annotated class attributes.

    class SpreadBurst(Policy):
        gap: Duration = 20 * ms
        \"\"\"The least time between two departures.\"\"\"

makes an option `gap`: a duration, 20ms by default, with the string below it as its documentation.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from typing import Any, Literal, NamedTuple, Protocol, get_args, get_origin, get_type_hints

from shaper.policy.base import Policy
from shaper.units import Unit


class HasOptions(Protocol):
    """A policy, or anything else with options, such as a workload of the probe."""

    @classmethod
    def option_names(cls) -> list[str]:
        """The options' names, in the order in which they are shown."""
        ...


class Option(NamedTuple):
    """One option of one policy.

    Attributes:
        kind: how its values are written: "duration", "share", "yes|no", "uniform|normal" …
        default: as a value, not as text.
        parse: reads a value; raises ValueError for a bad one.
        format: writes a value as `parse` reads it.
        common: whether every policy has it.
        policy: whose it is.
    """

    name: str
    kind: str
    default: Any
    parse: Callable[[str], Any]
    format: Callable[[Any], str]
    common: bool
    policy: type

    @property
    def doc(self) -> str:
        """The string below it; empty if there is none. It is read from the source, which takes 30 ms at first."""
        return _attribute_docs(self.policy).get(self.name, "")


def options_of(policy: type[HasOptions]) -> dict[str, Option]:
    """The policy's options by name, its own first.

    Raises:
        TypeError: an option has no default, or a type whose values can't be given on a command line.
    """
    hints = get_type_hints(policy, include_extras=True)
    found = {}
    for name in policy.option_names():
        if not hasattr(policy, name):
            raise TypeError(f"option '{name}' of {policy.__name__} has no default; write {name}: … = …")
        try:
            kind, parse, write = _kind(hints[name])
        except TypeError as error:
            raise TypeError(f"option '{name}' of {policy.__name__}: {error}") from None
        common = name in Policy.__annotations__ and name not in inspect.get_annotations(policy)
        found[name] = Option(name, kind, getattr(policy, name), parse, write, common, policy)
    return found


def _kind(hint: Any) -> tuple[str, Callable[[str], Any], Callable[[Any], str]]:
    """What values of this type are called, what reads them and what writes them."""
    if get_origin(hint) is not None and hasattr(hint, "__metadata__"):
        unit = next((extra for extra in hint.__metadata__ if isinstance(extra, Unit)), None)
        if unit is not None:
            return unit.name, unit.parse, unit.format
    if get_origin(hint) is Literal:
        choices = get_args(hint)
        return "|".join(choices), lambda text: _choose(text, choices), str
    if hint is bool:
        return "yes|no", lambda text: _choose(text, ("yes", "no")) == "yes", lambda value: "yes" if value else "no"
    if hint is int:
        return "number", _integer, str
    if hint is float:
        return "number", float, lambda value: f"{value:g}"
    if hint is str:
        return "text", str, str
    raise TypeError(
        f"{hint} can't be read from a command line; use Duration, Rate, Size, Share, int, str, bool, Literal"
    )


def _integer(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"'{text}' is not a whole number") from None


def _choose(text: str, choices: tuple[str, ...]) -> str:
    if text not in choices:
        raise ValueError(f"'{text}' is none of {', '.join(choices)}")
    return text


def assigned(base: type, name: str) -> ast.expr | None:
    """The expression that the body of this class assigns to a name without an annotation; None if it isn't known."""
    for statement in _body(base):
        if isinstance(statement, ast.Assign) and any(ast.unparse(target) == name for target in statement.targets):
            return statement.value
    return None


def _body(base: type) -> list[ast.stmt]:
    """The statements of a class; none if it has no file, being made in a test or at a prompt."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(base)))
    except (OSError, TypeError, SyntaxError):
        return []
    return tree.body[0].body if isinstance(tree.body[0], ast.ClassDef) else []


@cache
def _attribute_docs(policy: type) -> dict[str, str]:
    """The strings below the annotated attributes of the class and its bases."""
    docs: dict[str, str] = {}
    for base in reversed(policy.__mro__):
        if not hasattr(base, "option_names"):
            continue
        for statement, following in pairwise(_body(base)):
            if not isinstance(statement, ast.AnnAssign) or not isinstance(statement.target, ast.Name):
                continue
            if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
                docs[statement.target.id] = inspect.cleandoc(str(following.value.value))
    return docs
