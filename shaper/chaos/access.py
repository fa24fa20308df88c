"""How an activity of an experiment reaches a running shaper."""

from typing import Any

from shaper.control.client import Client

Secrets = dict[str, Any]
"""Secrets of an experiment; `token` is the one that `--token-file` has, for a shaper at a URL."""


def client(name: str | None, secrets: Secrets | None) -> Client:
    """The shaper of this name or at this URL; without one, the one that is running.

    Raises:
        ShaperError: there is none, or there are several.
    """
    return Client(name, token=(secrets or {}).get("token"))
