"""Changes of a running core: what was changed, when, and after how many packets."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal, NamedTuple

from shaper.errors import UsageError

What = Literal["replace", "change", "pause", "resume", "release"]
NOTHING: Final[Mapping[str, str]] = MappingProxyType({})


class ChangeError(UsageError):
    """A change that can't be made; the message says why in one line, and nothing has changed."""


class Change(NamedTuple):
    """One change of a running core.

    Attributes:
        at: when, in ns.
        taken: how many packets were taken before it.
        what: `replace`: another pipeline. `change`: other options of one stage. `pause`: packets pass all policies.
            `resume`: they meet the pipeline again. `release`: all held packets go on.
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
