"""The control API of a running shaper: its server, its page, and clients of it.

`Client` asks and changes a running shaper from Python, `AsyncClient` does so on trio or asyncio.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from shaper.control.aio import AsyncClient
    from shaper.control.client import Client

__all__ = ["AsyncClient", "Client"]


def __getattr__(name: str) -> Any:
    # Whoever serves needs no client, and not all have anyio.
    if name == "Client":
        from shaper.control.client import Client

        return Client
    if name == "AsyncClient":
        from shaper.control.aio import AsyncClient

        return AsyncClient
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
