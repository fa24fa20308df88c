"""An engine's process behind a front: shapes the packets of one queue.

The front (see front.py) has a socket to it. By this the front asks it to count and to end, and it reports progress,
failures and warnings. It writes its result to a file, since a socket takes no message of that length at once.

The front may be root when this process no longer is, so what this one sends is JSON, which can do no harm.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import traceback
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import Any, TextIO

import trio

from shaper.errors import ShaperError, UsageError
from shaper.live.front.requests import Requests
from shaper.live.front.results import result_of
from shaper.live.guardian.guardian import TakenOver
from shaper.live.nursery import ungrouped
from shaper.live.rules.owner import Owner
from shaper.live.rules.ruleset import RuleSet
from shaper.live.run import Run
from shaper.live.session import shape
from shaper.live.settings import Settings
from shaper.live.shared_rules import SharedRules

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGTSTP, signal.SIGUSR1)
"""What a terminal, or who ends a whole group of processes, sends to the engine too; it is the front that obeys."""

Words = Mapping[str, Any]
"""A message."""


class Control:
    """The engine's end of the socket to the front."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._heard: deque[Words] = deque()

    def fileno(self) -> int:
        """The descriptor of the socket."""
        return self._end.fileno()

    def say(self, **words: Any) -> None:
        """Send a message, which may get lost: a stopped front reads nothing, and packets can't wait for it."""
        with suppress(OSError):
            self._end.send(json.dumps(words).encode(), socket.MSG_DONTWAIT)

    async def hear(self) -> Words:
        """The front's next message; empty when it has died."""
        if self._heard:
            return self._heard.popleft()
        await trio.lowlevel.wait_readable(self._end)
        return self._receive()

    def rules(self, queue: int) -> RuleSet | None:
        """Report the queue's number, and wait for the rules that bring packets to it; None if the front sets none.

        Raises:
            ShaperError: the front has died.
        """
        self.say(bound=queue)
        while "rules" not in (words := self._receive()):
            if not words:
                raise ShaperError("shaper has died while it started")
            self._heard.append(words)
        if words["rules"] is None:
            return None
        owner, text, mark = words["rules"]
        return RuleSet(Owner(*owner), text, mark)

    def _receive(self) -> Words:
        with suppress(OSError):
            words: Words = json.loads(self._end.recv(1 << 18) or "{}")
            return words
        return {}


async def work(settings: Settings, control: Control) -> dict[str, Any]:
    """Shape until the front asks to end or has died; returns the result.

    Raises:
        ShaperError: see `session.shape`.
    """
    stop = trio.Event()
    shared = SharedRules(control.rules, control.fileno())
    run: Run | None = None

    async def obey(requests: Requests) -> None:
        while (words := await control.hear()) and words.get("ask") != "stop":
            nursery.start_soon(answer, requests, words["id"], words["ask"], words)
        shared.detached = bool(words)
        shared.orphaned = not words
        stop.set()

    async def answer(requests: Requests, number: int, what: str, arguments: Words) -> None:
        try:
            answer = {"value": await requests.answer(what, arguments)}
            if what == "count":
                # The front counts once a second. A task of its own would cost a turn of trio, and wake the front again.
                answer["progress"] = requests.progress()
            control.say(id=number, **answer)
        except (ShaperError, OSError) as error:
            control.say(id=number, error=_message_of(error), usage=isinstance(error, UsageError | OSError))

    async def pass_signals_on(*, task_status: trio.TaskStatus[None]) -> None:
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGHUP) as signals:
            task_status.started()
            async for _ in signals:
                control.say(stop=True)

    async def report_end() -> None:
        await stop.wait()
        control.say(stop=True)

    def started(given: Run) -> None:
        nonlocal run
        run = given
        control.say(ready=True)
        nursery.start_soon(obey, Requests(given))

    with ungrouped():
        async with trio.open_nursery() as nursery:
            await nursery.start(pass_signals_on)
            nursery.start_soon(report_end)
            summary = await shape(
                settings,
                started=started,
                failed=lambda failure: control.say(failed=failure._replace(details="")),
                warned=lambda message: control.say(warned=message),
                stop=stop,
                shared=shared,
            )
            nursery.cancel_scope.cancel()
    assert run is not None
    return dict(result_of(summary, run.engine.holds))


def be_engine(settings: Settings, end: socket.socket, result: TextIO) -> None:
    """Shape, and end the process.

    Args:
        settings: its own.
        end: its end of the socket to the front.
        result: gets its result, or the error that ended it.
    """
    for number in SIGNALS:
        signal.signal(number, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    status = 1
    try:
        json.dump(_outcome(settings, Control(end)), result)
        result.flush()
        status = 0
    except BaseException:  # nobody else will print it
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(Exception):  # it may be closed, or its reader may have gone
                stream.flush()
        # Past all that this process has of its parent: its buffers, its cleanup, its caller.
        os._exit(status)


def _outcome(settings: Settings, control: Control) -> dict[str, Any]:
    try:
        return trio.run(partial(work, settings, control))
    except (ShaperError, OSError) as error:
        return {
            "error": _message_of(error),
            "usage": isinstance(error, UsageError),
            "taken_over": isinstance(error, TakenOver),
            "details": getattr(error, "details", "") or traceback.format_exc(),
        }


def _message_of(error: ShaperError | OSError) -> str:
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return str(error)
