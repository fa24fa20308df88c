"""Calls that wait for an answer, made in threads, one after another, so that the screen never waits."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TypeVar

Answer = TypeVar("Answer")


class Calls:
    """One call at a time. A call that never ends holds up the next ones, but neither the screen nor its end."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()

    async def make(self, call: Callable[[], Answer]) -> Answer:
        """The answer of the call; raises what the call raises."""
        async with self._turn:
            loop = asyncio.get_running_loop()
            answer: asyncio.Future[Answer] = loop.create_future()

            def note(settle: Callable[[], None]) -> None:
                if not answer.done():  # else nobody waits for it any more
                    settle()

            def run() -> None:
                try:
                    settle = partial(answer.set_result, call())
                except Exception as error:
                    settle = partial(answer.set_exception, error)
                with suppress(RuntimeError):  # the loop has ended
                    loop.call_soon_threadsafe(note, settle)

            # A daemon, unlike the threads of asyncio's own pool, for which Python waits at its end.
            threading.Thread(target=run, daemon=True).start()
            return await answer
