"""Events as a response that never ends by itself: JSON lines."""

from __future__ import annotations

import json
from collections.abc import Collection
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict

import trio
from starlette.responses import Response

from shaper.control.http import Message, Receive, Send
from shaper.live.state import Event

JSON_LINES = "application/jsonl"


class EventStream(Response):
    """Writes events until the client leaves or there are no more.

    Args:
        events: where they come from.
        kinds: only these; empty for all.
        reader: a place among the readers, free again at the end.
    """

    def __init__(
        self,
        events: AbstractAsyncContextManager[trio.MemoryReceiveChannel[Event]],
        kinds: Collection[str],
        reader: trio.Semaphore,
    ) -> None:
        self.status_code, self.media_type, self.background = 200, JSON_LINES, None
        self.init_headers({"Cache-Control": "no-store"})
        del self.headers["content-length"]
        self._events, self._kinds, self._reader = events, kinds, reader

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Write them."""
        async with self._reader, self._events as events, trio.open_nursery() as nursery:
            nursery.start_soon(self._watch, receive, nursery.cancel_scope)
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            # The headers go at once, so that the client knows that it misses nothing from now on.
            async for event in events:
                if not self._kinds or event.kind in self._kinds:
                    line = json.dumps(asdict(event), separators=(",", ":")) + "\n"
                    await send({"type": "http.response.body", "body": line.encode(), "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            nursery.cancel_scope.cancel()

    async def _watch(self, receive: Receive, reading: trio.CancelScope) -> None:
        """End when the client has left, even if nothing happens."""
        while (await receive())["type"] != "http.disconnect":
            pass
        reading.cancel()
