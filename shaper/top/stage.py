"""What can be said about a stage of a running shaper: which options are in force, and what they mean."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from shaper.policy.options import Option, options_of
from shaper.report.table import printable
from shaper.spec.load import LoadError, builtin_names, find, split_options, split_spec


def known_options(stage: Mapping[str, Any]) -> dict[str, Option]:
    """The options of the stage's policy, if it is a built-in one; else none.

    Code of somebody else is not loaded: the shaper that runs it may be on another machine.
    """
    return _options_of(split_spec(stage["spec"])[0])


@cache
def _options_of(policy: str) -> dict[str, Option]:
    return options_of(find(policy)) if policy in builtin_names() else {}


def is_default(stage: Mapping[str, Any], option: str) -> bool:
    """Whether this option has its default, as far as that is known."""
    known = known_options(stage).get(option)
    return known is not None and known.format(known.default) == stage["options"][option]


def about(stage: Mapping[str, Any], option: str) -> str:
    """An option in a line: how its values are written, and what it means; empty if that isn't known."""
    known = known_options(stage).get(option)
    return f"{known.kind.replace('|', ', ')}: {' '.join(known.doc.split())}" if known is not None else ""


def in_force(stage: Mapping[str, Any]) -> str:
    """A stage as a SPEC of what is in force, with all options but those that are known to have their defaults."""
    options = [
        f'{name}="{value}"' if "," in value else f"{name}={value}"
        for name, value in stage["options"].items()
        if not is_default(stage, name)
    ]
    return printable(f"{stage['name']}:{','.join(options)}" if options else stage["name"])


def options_given(text: str) -> tuple[str, dict[str, str]]:
    """The stage and the options of STAGE:option=value,…; as in a SPEC, the most important option needs no name.

    Raises:
        LoadError: it can't be read.
    """
    stage, options = split_spec(text)
    policy = stage.partition("#")[0]
    shorthand = find(policy).shorthand if policy in builtin_names() else None
    found = dict(split_options(options, shorthand, stage))
    if not found:
        raise LoadError(f"'{text}' has no options; write STAGE:option=value")
    return stage, found
