"""Private networks of this machine, shaped by policies: programs and tests run inside, without root."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shaper.network.network import Network
from shaper.network.packets import Packets, PacketSeen

if TYPE_CHECKING:
    from shaper.network.aio import AsyncNetwork

__all__ = ["AsyncNetwork", "Network", "PacketSeen", "Packets"]


def __getattr__(name: str) -> Any:
    if name == "AsyncNetwork":  # needs anyio, which not all have
        from shaper.network.aio import AsyncNetwork

        return AsyncNetwork
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
