"""A worker: a process that shapes the packets of one queue, one of several that share the rules.

It is told all in a file and hears of its end by a socket, from the process that started it
(see workers.py), and says there what should be known while it runs. What it came to it
writes to another file, since a socket takes no message of that length at once.

Its parent may be root when it isn't any more, so what it says is JSON, and only read.
"""

from __future__ import annotations

import json
import os
import pickle
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, NamedTuple

import trio

from shaper.errors import ShaperError
from shaper.live.nursery import ungrouped
from shaper.live.run import Run
from shaper.live.session import shape
from shaper.live.settings import Settings
from shaper.live.workers.tally import tally
from shaper.spec.load import load_pipeline
from shaper.units import s

COUNT, STOP = b"count", b"stop"
"""Take what the queue has and tell how many packets came. End; the rules are detached.

The end of the socket means the latter, too, and that nobody else will see to the rules.
"""
TELL = 1 * s
"""How often it says how it goes."""


class WorkerOrder(NamedTuple):
    """What a worker is told: where modules are, and the settings but for the policies, which can't be handed over."""

    path: Sequence[str]
    settings: Settings


class Control:
    """The socket between parent and worker, as the worker has it."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end

    def say(self, **words: Any) -> None:
        """Nothing that must arrive: a parent that was stopped reads nothing, and packets don't wait for it."""
        with suppress(OSError):
            self._end.send(json.dumps(words).encode(), socket.MSG_DONTWAIT)

    async def hear(self) -> bytes:
        """The parent's word; nothing when it has died."""
        await trio.lowlevel.wait_readable(self._end)
        with suppress(OSError):
            return self._end.recv(1 << 10)
        return b""


async def work(settings: Settings, control: Control) -> dict[str, Any]:
    """Shape until the parent says so, has died, or a signal comes; the tally."""
    stop = trio.Event()
    run: Run | None = None

    async def obey() -> None:
        while (word := await control.hear()) == COUNT:
            if run is not None and run.guardian is not None:
                # One that has taken this process for dead doesn't answer.
                await trio.to_thread.run_sync(run.guardian.look)
                while run.engine.work():
                    await trio.lowlevel.checkpoint()
                control.say(come=run.come())
        if settings.shared is not None:
            settings.shared.detached = word == STOP
            settings.shared.orphaned = word != STOP
        stop.set()

    async def end_on_signal(*, task_status: trio.TaskStatus[None]) -> None:
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as signals:
            task_status.started()
            async for _ in signals:
                stop.set()

    async def tell(run: Run) -> None:
        while True:
            control.say(progress=run.progress())
            await trio.sleep(TELL / s)

    def started(given: Run) -> None:
        nonlocal run
        run = given
        control.say(ready=True)
        nursery.start_soon(tell, run)

    with ungrouped():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(obey)
            await nursery.start(end_on_signal)
            summary = await shape(
                settings,
                started=started,
                failed=lambda failure: control.say(failed=failure._replace(details="")),
                warned=lambda message: control.say(warned=message),
                stop=stop,
            )
            nursery.cancel_scope.cancel()
    assert run is not None
    return dict(tally(summary, run.engine.holds))


def main(control_by: int, told_in: int, tell_in: int) -> None:
    """A worker's life.

    Args:
        control_by: the descriptor of its end of the socket.
        told_in: the descriptor of the file that holds its order.
        tell_in: the descriptor of the file for its tally.
    """
    control = Control(socket.socket(fileno=control_by))
    with open(told_in, "rb") as file:
        file.seek(0)
        order: WorkerOrder = pickle.load(file)
    sys.path[:] = order.path
    try:
        settings = order.settings
        settings = replace(settings, policies=load_pipeline(settings.specs, settings.max_hold))
        result = trio.run(work, settings, control)
    except (ShaperError, OSError) as error:
        result = {"error": str(error), "kind": type(error).__name__}
    with os.fdopen(tell_in, "w") as file:
        json.dump(result, file)
