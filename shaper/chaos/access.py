"""How an activity of an experiment reaches a running shaper."""

import time
from typing import Any

from shaper.control.client import Client

Secrets = dict[str, Any]
"""Secrets of an experiment; `token` is the one that `--token-file` has, for a shaper at a URL."""
SETTLED = 0.03
"""Seconds after which a status counts all that has passed, see `shaper.live.front.control`, FRESH."""


def client(name: str | None, secrets: Secrets | None) -> Client:
    """The shaper of this name or at this URL; without one, the one that is running.

    Raises:
        ShaperError: there is none, or there are several.
    """
    return Client(name, token=(secrets or {}).get("token"))


def status_of(shaper: Client) -> dict[str, Any]:
    """Its status, with the counts of all packets until now: a status is up to 20 ms old, as it may be for several."""
    time.sleep(SETTLED)
    return shaper.status()
