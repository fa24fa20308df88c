"""AsyncClient: as `Client`, for programs on trio or asyncio (by anyio, extra `test`)."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from anyio import to_thread

from shaper.control.client import Client

R = TypeVar("R")


class AsyncClient:
    """A running shaper; the methods are those of `Client`, and wait without blocking other tasks.

    Args:
        where, token: see `Client`, as for what is raised.

    Attributes:
        name: how it was found, for messages.
    """

    def __init__(self, where: str | Path | None = None, *, token: str | None = None) -> None:
        self._client = Client(where, token=token)
        self.name = self._client.name

    async def status(self) -> dict[str, Any]:
        """What it is doing; see `Client.status`."""
        return await _wait_for(self._client.status)

    async def pipeline(self) -> list[dict[str, Any]]:
        """Its stages; see `Client.pipeline`."""
        return await _wait_for(self._client.pipeline)

    async def replace(self, specs: Sequence[str]) -> list[dict[str, Any]]:
        """Replace the pipeline; see `Client.replace`."""
        return await _wait_for(self._client.replace, specs)

    async def stage(self, name: str) -> dict[str, Any]:
        """One stage."""
        return await _wait_for(self._client.stage, name)

    async def set(self, stage: str, options: Mapping[str, str]) -> dict[str, Any]:
        """Change options of a stage; see `Client.set`."""
        return await _wait_for(self._client.set, stage, options)

    async def pause(self) -> dict[str, Any]:
        """Let packets pass at once; see `Client.pause`."""
        return await _wait_for(self._client.pause)

    async def resume(self) -> dict[str, Any]:
        """Shape again; see `Client.resume`."""
        return await _wait_for(self._client.resume)

    async def release(self) -> dict[str, Any]:
        """Send all held packets on now; see `Client.release`."""
        return await _wait_for(self._client.release)

    async def stop(self) -> dict[str, Any]:
        """End it; see `Client.stop`."""
        return await _wait_for(self._client.stop)

    async def flows(self, limit: int = 100) -> list[dict[str, Any]]:
        """Its flows; see `Client.flows`."""
        return await _wait_for(self._client.flows, limit)

    async def metrics(self) -> str:
        """What Prometheus would be given."""
        return await _wait_for(self._client.metrics)

    @asynccontextmanager
    async def events(
        self, *, kinds: Sequence[str] = (), packets_per_second: int = 100
    ) -> AsyncGenerator[AsyncGenerator[dict[str, Any], None], None]:
        """What happens from now on: `async with client.events() as events: async for event in events: …`.

        Args:
            kinds, packets_per_second: see `Client.events`.
        """
        stream = await _wait_for(self._client.open_events, kinds=kinds, packets_per_second=packets_per_second)

        async def read() -> AsyncGenerator[dict[str, Any], None]:
            while (event := await to_thread.run_sync(stream.read, abandon_on_cancel=True)) is not None:
                yield event

        try:
            async with aclosing(read()) as events:
                yield events
        finally:
            stream.close()  # which also ends a thread that still waits


async def _wait_for(function: Callable[..., R], *args: Any, **kwargs: Any) -> R:
    """What the function returns, called in another thread; it ends within the client's time-out."""
    return await to_thread.run_sync(partial(function, *args, **kwargs), abandon_on_cancel=True)
