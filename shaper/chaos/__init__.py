"""An extension of the Chaos Toolkit: experiments start, change and end shapers, and ask what they did.

The actions are in `shaper.chaos.actions`, the probes in `shaper.chaos.probes`. They do what the commands do, through
the same API; see docs/chaos.md. An error is one line, which the Chaos Toolkit reports.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

DISTRIBUTION = "nfq-shaper"


def discovered() -> dict[str, Any]:
    """What `chaos discover nfq-shaper` shows: all actions and probes with their arguments."""
    from chaoslib.discovery.discover import discover_actions, discover_probes, initialize_discovery_result

    found: dict[str, Any] = initialize_discovery_result(DISTRIBUTION, version(DISTRIBUTION), "network")
    found["activities"] += discover_actions("shaper.chaos.actions")
    found["activities"] += discover_probes("shaper.chaos.probes")
    return found
