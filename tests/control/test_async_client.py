"""The asynchronous client, on asyncio and trio."""

from __future__ import annotations

import anyio
import pytest

from shaper.control import AsyncClient
from shaper.errors import UsageError
from tests.control.conftest import Running, eventually

pytestmark = pytest.mark.parametrize("backend", ["asyncio", "trio"])


def test_it_looks_and_changes(running: Running, backend: str) -> None:
    async def main() -> None:
        client = AsyncClient(running.listeners.name)
        assert (await client.status())["policies"] == ["delay:20ms", "loss:1%"]
        assert (await client.set("delay", {"time": "30ms"}))["options"]["time"] == "30ms"
        assert (await client.stage("delay"))["options"]["time"] == "30ms"
        assert [stage["name"] for stage in await client.replace(["rate:1mbit"])] == ["rate"]
        assert [stage["name"] for stage in await client.pipeline()] == ["rate"]
        assert (await client.pause())["state"] == "paused"
        assert (await client.resume())["state"] == "shaping"
        await client.release()
        assert len(await client.flows(limit=1)) <= 1
        assert "shaper_" in await client.metrics()
        with pytest.raises(UsageError, match="there is no stage 'loss'"):
            await client.set("loss", {"probability": "1%"})
        await client.stop()

    anyio.run(main, backend=backend)


def test_events_end_when_nobody_wants_more(running: Running, backend: str) -> None:
    async def main() -> None:
        client = AsyncClient(running.listeners.name)
        async with client.events(kinds=["change"]) as events:
            await client.set("delay", {"time": "30ms"})
            assert (await anext(events))["kind"] == "change"
            with anyio.move_on_after(0.05):
                await anext(events)
                raise AssertionError("there was one change")

    anyio.run(main, backend=backend)
    assert eventually(lambda: running.front.readers == 0)
