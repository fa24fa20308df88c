"""The markers and fixtures that give a test a network of its own."""

from __future__ import annotations

from typing import NamedTuple, TypeGuard

import pytest

MARKER = (
    "shaper(*policies, profile=None, seed=None, fired=True): run the test in a private network of its own, whose lo is "
    "shaped by these policies. The test fails if one of them touched no packet, unless fired=False."
)
EACH = (
    "shaper_each(*conditions, profile=None): run the test once for each condition: a policy, a tuple of policies, or "
    "'none'; and for each profile named."
)
CONDITION = "shaper_condition"
REFUSED = "private networks need Linux"
PLUGIN = "shaper.testing.plugin"


class Condition(NamedTuple):
    """What `shaper_each` adds to a test."""

    policies: tuple[str, ...] = ()
    profile: str | None = None


def has_own_network(item: pytest.Item) -> TypeGuard[pytest.Function]:
    """Whether the test runs in a network of its own, or in that of `shaper_network`; not only in that of --shaper."""
    if not isinstance(item, pytest.Function) or item.config.option.setuponly:
        return False
    if item.get_closest_marker("shaper") is not None or item.get_closest_marker("shaper_each") is not None:
        return True
    return any(_has_fixture(item, name) for name in ("shaper", "shaper_network"))


def _has_fixture(item: pytest.Function, name: str) -> bool:
    """Whether the test uses this fixture of the plugin, and no other one of the same name."""
    found = item._fixtureinfo.name2fixturedefs.get(name)
    return found is not None and found[-1].func.__module__ == PLUGIN
