"""A worker's process: shapes the packets of one queue of several that share the rules.

Its parent (see workers.py) gives it its order in a file, and has a socket to it: by this the parent asks it to count
and to end, and it reports progress, failures and warnings. It writes its result to another file, since a socket takes
no message of that length at once.

Its parent may be root when it no longer is, so what it sends is JSON, which can do no harm.
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
from shaper.live.workers.results import result_of
from shaper.spec.load import load_pipeline
from shaper.units import s

COUNT, STOP = b"count", b"stop"
"""Take what is in the queue and report how many packets were received. End; the rules are detached.

The end of the socket means to end too, and that nobody else will detach or remove the rules.
"""
PROGRESS_INTERVAL = 1 * s
"""Between two reports of progress."""


class WorkerOrder(NamedTuple):
    """What a worker is started with: sys.path, and the settings without the policies, which can't be pickled."""

    path: Sequence[str]
    settings: Settings


class Control:
    """The worker's end of the socket to its parent."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end

    def say(self, **words: Any) -> None:
        """Send a message, which may get lost: a stopped parent reads nothing, and packets can't wait for it."""
        with suppress(OSError):
            self._end.send(json.dumps(words).encode(), socket.MSG_DONTWAIT)

    async def hear(self) -> bytes:
        """The parent's next word; empty when it has died."""
        await trio.lowlevel.wait_readable(self._end)
        with suppress(OSError):
            return self._end.recv(1 << 10)
        return b""


async def work(settings: Settings, control: Control) -> dict[str, Any]:
    """Shape until the parent asks to end or has died, or a signal comes; returns the result.

    Raises:
        ShaperError: see `session.shape`.
    """
    stop = trio.Event()
    run: Run | None = None

    async def obey() -> None:
        while (word := await control.hear()) == COUNT:
            if run is not None and run.guardian is not None:
                # Its answer shows that it hasn't taken this process for dead; else there must be no count.
                await trio.to_thread.run_sync(run.guardian.look)
                while run.engine.work():
                    await trio.lowlevel.checkpoint()
                control.say(received=run.packets_received())
        if settings.shared_rules is not None:
            settings.shared_rules.detached = word == STOP
            settings.shared_rules.orphaned = word != STOP
        stop.set()

    async def end_on_signal(*, task_status: trio.TaskStatus[None]) -> None:
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as signals:
            task_status.started()
            async for _ in signals:
                stop.set()

    async def report_progress(run: Run) -> None:
        while True:
            control.say(progress=run.progress())
            await trio.sleep(PROGRESS_INTERVAL / s)

    def started(given: Run) -> None:
        nonlocal run
        run = given
        control.say(ready=True)
        nursery.start_soon(report_progress, run)

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
    return dict(result_of(summary, run.engine.holds))


def main(control_by: int, order_in: int, result_in: int) -> None:
    """Be a worker.

    Args:
        control_by: the descriptor of its end of the socket.
        order_in: the descriptor of the file that holds its order.
        result_in: the descriptor of the file for its result, or for the error that ended it.
    """
    control = Control(socket.socket(fileno=control_by))
    with open(order_in, "rb") as file:
        file.seek(0)
        order: WorkerOrder = pickle.load(file)
    sys.path[:] = order.path
    try:
        settings = order.settings
        settings = replace(settings, policies=load_pipeline(settings.specs, settings.max_hold))
        result = trio.run(work, settings, control)
    except (ShaperError, OSError) as error:
        result = {"error": str(error), "kind": type(error).__name__}
    with os.fdopen(result_in, "w") as file:
        json.dump(result, file)
