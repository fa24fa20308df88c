"""Changes of a running core: what was changed, when, and after how many packets."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, Literal, NamedTuple

from shaper.core.failure import FAULTS, failure_of
from shaper.errors import UsageError
from shaper.policy.base import Policy

What = Literal["replace", "change", "pause", "resume", "release", "time"]
NOTHING: Final[Mapping[str, str]] = MappingProxyType({})


class ChangeError(UsageError):
    """A change that can't be made; the message says why in one line, and nothing has changed."""


def check(stage: str, prototype: Policy, values: Mapping[str, Any]) -> None:
    """Check that the policy of a stage can have these values from now on.

    Args:
        stage: its name.
        prototype: stays as it is; a copy of it is asked.
        values: by option.

    Raises:
        ChangeError: it can't.
    """
    known = prototype.option_names()
    for name in values:
        if name not in known:
            raise ChangeError(f"{stage} has no option '{name}'; it has {', '.join(known)}")
    if values.get("scope", prototype.scope) != prototype.scope:
        raise ChangeError(f"{stage}: scope can't be changed while packets flow; replace the pipeline instead")
    try:
        copy = prototype.prototype().fresh()
        for name, value in values.items():
            setattr(copy, name, value)
        copy.on_change(frozenset(values))
    except ValueError as error:
        raise ChangeError(f"{stage}: {error}") from error
    except FAULTS as error:
        raise ChangeError(str(failure_of(type(prototype), stage, error, "on_change"))) from error


class Change(NamedTuple):
    """One change of a running core.

    Attributes:
        at: when, in ns.
        taken: how many packets were taken before it.
        what: `replace`: another pipeline. `change`: other options of one stage. `pause`: packets pass all policies.
            `resume`: they meet the pipeline again. `release`: all held packets go on. `time`: no change;
            the core's time had gone on this far when it was given the next packet, which had come before that.
        specs: of the new pipeline, as the user wrote it.
        stage: the name of the stage whose options were changed.
        options: their new values, as the user wrote them.
    """

    at: int
    taken: int
    what: What
    specs: tuple[str, ...] = ()
    stage: str = ""
    options: Mapping[str, str] = NOTHING
