"""What the marker `shaper_each` adds to a test."""

from __future__ import annotations

from typing import NamedTuple

CONDITION = "shaper_condition"
"""The fixture whose parameter is a `Condition`."""


class Condition(NamedTuple):
    """Policies, or a profile, under which a test runs once."""

    policies: tuple[str, ...] = ()
    profile: str | None = None
