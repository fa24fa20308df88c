"""What `shaper top` knows about an option beside its value: how values are written, what it means, its default."""

from __future__ import annotations

from functools import cache

from shaper.policy.options import Option, options_of
from shaper.spec.load import builtin_names, find


@cache
def known_options(stage: str) -> dict[str, Option]:
    """The options of a built-in policy by the name of its stage, `delay` or `delay#2`; none for one from elsewhere.

    Code of somebody else is not loaded, since the shaper that runs it may belong to another machine.
    """
    head = stage.partition("#")[0]
    return options_of(find(head)) if head in builtin_names() else {}


def is_default(stage: str, option: str, value: str) -> bool:
    """Whether this option has its default, as far as it is known."""
    known = known_options(stage).get(option)
    return known is not None and known.format(known.default) == value


def about(stage: str, option: str) -> str:
    """An option in a line: how its values are written, and what it means; empty if that isn't known."""
    known = known_options(stage).get(option)
    return f"{known.kind.replace('|', ', ')}: {' '.join(known.doc.split())}" if known is not None else ""
