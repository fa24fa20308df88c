"""How one test is shaped, by its markers and pytest's options."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from shaper.errors import UsageError
from shaper.network import Network
from shaper.testing.marks import CONDITION, Condition

KEYWORDS = {"profile", "seed", "fired"}


@dataclass(frozen=True)
class Plan:
    """How one test is shaped.

    Attributes:
        policies, profile, seed: of its network.
        must_fire: each policy must touch a packet.
        shared: the network of several tests that it runs in; None for one of its own.
    """

    policies: tuple[str, ...]
    profile: str | None
    seed: str
    must_fire: bool
    shared: Network | None


def plan_of(item: pytest.Function) -> Plan:
    """How this test is shaped; fixtures of the session are set up.

    Raises:
        UsageError: a marker or an option is wrong.
    """
    options = item.config.option
    policies, profile, seed = tuple(options.shaper), options.shaper_profile, options.shaper_seed
    must_fire = False
    mark = item.get_closest_marker("shaper")
    if mark is not None:
        for name in mark.kwargs:
            if name not in KEYWORDS:
                raise UsageError(f"the marker shaper has no option '{name}'; it has {', '.join(sorted(KEYWORDS))}")
        policies += mark.args
        profile = mark.kwargs.get("profile", profile)
        seed = str(mark.kwargs.get("seed", seed))
        must_fire = bool(mark.args) and mark.kwargs.get("fired", True)
    if hasattr(item, "callspec") and CONDITION in item.callspec.params:
        condition = item.callspec.params[CONDITION]
        assert isinstance(condition, Condition)
        policies, profile = (*policies, *condition.policies), condition.profile or profile
    for policy in policies:
        if not isinstance(policy, str):
            raise UsageError(f"the marker shaper takes policies as texts, such as 'delay:20ms', not {policy!r}")
    shared = item.funcargs.get("shaper_network")
    if not isinstance(shared, Network):
        shared = None  # another fixture of the same name
    if shared is not None and profile is not None:
        raise UsageError("tests in `shaper_network` take policies, not a profile")
    if shared is not None and seed != options.shaper_seed:
        raise UsageError("tests in `shaper_network` take no seed of their own; use --shaper-seed")
    return Plan(policies, profile, seed, must_fire and shared is None, shared)
