"""AsyncNetwork: as `Network`, for programs on trio or asyncio (by anyio, extra `test`)."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar

from anyio import CancelScope, to_thread

from shaper.live.summary import Summary
from shaper.network.listening import Protocol
from shaper.network.network import Network
from shaper.network.packets import Packets
from shaper.network.waits import Wait

R = TypeVar("R")


class AsyncNetwork:
    """A private network of this machine; its methods are those of `Network`, and wait without blocking other tasks.

    What a task waits for ends when the task is cancelled: a program that it ran is killed.

    Args:
        policies, seed, profile, mtu: see `Network`, as for what is raised.
    """

    def __init__(
        self, *policies: str, seed: int | str | None = None, profile: str | None = None, mtu: int = 1500
    ) -> None:
        self._network = Network(*policies, seed=seed, profile=profile, mtu=mtu)

    async def __aenter__(self) -> Self:
        await _wait_for(self._network.open)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with CancelScope(shield=True):
            await _wait_for(self._network.close)

    async def start(self, command: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
        """Start a program inside; see `Network.start`."""
        return await _wait_for(self._network.start, command, **options)

    async def run(
        self,
        command: Sequence[str],
        *,
        input: str | bytes | None = None,
        timeout: float | None = None,
        check: bool = False,
        **options: Any,
    ) -> subprocess.CompletedProcess[Any]:
        """Run a program inside to its end; see `Network.run`."""
        started: list[subprocess.Popen[Any]] = []
        run = partial(self._network.run, command, input=input, timeout=timeout, check=check, **options)
        try:
            return await to_thread.run_sync(partial(run, started=started.append), abandon_on_cancel=True)
        except BaseException:
            for process in started:
                process.kill()
            raise

    async def call(self, function: Callable[..., R], *args: Any, **kwargs: Any) -> R:
        """Call a function inside; see `Network.call`."""
        return await _wait_for(self._network.call, function, *args, **kwargs)

    async def wait_for_port(self, port: int, *, protocol: Protocol = "tcp", timeout: float = 10) -> None:
        """Wait until a server can be reached; see `Network.wait_for_port`."""
        wait = partial(self._network.wait_for_port, port, protocol=protocol, timeout=timeout)
        await to_thread.run_sync(wait, abandon_on_cancel=True)

    async def change(self, stage: str, **options: Any) -> None:
        """Change options of a policy; see `Network.change`."""
        await _wait_for(self._network.change, stage, **options)

    async def replace(self, *policies: str) -> None:
        """Replace the pipeline; see `Network.replace`."""
        await _wait_for(self._network.replace, *policies)

    async def pause(self) -> None:
        """Let packets pass unshaped; see `Network.pause`."""
        await _wait_for(self._network.pause)

    async def resume(self) -> None:
        """Shape packets again; see `Network.resume`."""
        await _wait_for(self._network.resume)

    async def release(self) -> None:
        """Send all packets on that are held; see `Network.release`."""
        await _wait_for(self._network.release)

    async def packets(self) -> Packets:
        """The packets so far; see `Network.packets`."""
        return await _wait_for(lambda: self._network.packets)

    async def blockings(self) -> list[Wait]:
        """The calls that waited so far; see `Network.blockings`."""
        return await _wait_for(lambda: self._network.blockings)

    async def summary(self) -> Summary:
        """The counts so far; see `Network.summary`."""
        return await _wait_for(lambda: self._network.summary)


async def _wait_for(function: Callable[..., R], *args: Any, **kwargs: Any) -> R:
    """What the function returns, called in another thread."""
    return await to_thread.run_sync(partial(function, *args, **kwargs))
