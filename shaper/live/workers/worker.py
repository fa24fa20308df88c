"""A worker as the process that started it sees it; what the worker itself does is in process.py."""

from __future__ import annotations

import json
import os
import pickle
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress

import trio

from shaper.core.failure import Failure
from shaper.errors import ShaperError, UsageError
from shaper.live.guardian.guardian import ROOT, TakenOver
from shaper.live.progress import Progress
from shaper.live.settings import Settings
from shaper.live.workers.process import COUNT, STOP, WorkerOrder
from shaper.live.workers.results import Result

RUN = (
    "import sys; sys.path.append(sys.argv[1]); "
    "from shaper.live.workers.process import main; main(*map(int, sys.argv[2:]))"
)


class Worker:
    """A worker's process.

    Args:
        name: what it is called in messages.
        settings: its own; it loads its policies itself, from their SPECs.
        failed, warned: see `session.shape`.

    Attributes:
        ready: set when its queue is bound.
        ended: set when the process has ended.
        progress: its state when it last reported.
        result: its counts, if it ended in order.
    """

    def __init__(
        self,
        name: str,
        settings: Settings,
        failed: Callable[[Failure], None],
        warned: Callable[[str], None],
    ) -> None:
        self.ready, self.ended = trio.Event(), trio.Event()
        self.progress = Progress()
        self.result: Result | None = None
        self._name = name
        self._failed, self._warned = failed, warned
        self._error: ShaperError | None = None
        self._counted, self._received = trio.Event(), 0
        self._is_silent = self._is_killed = False
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        order = os.memfd_create("order")
        self._result = os.memfd_create("result")
        with open(order, "wb", closefd=False) as file:
            pickle.dump(WorkerOrder(sys.path, settings), file)
        passed = (theirs.fileno(), order, self._result)
        # By exec, as the guardian. Ctrl-C must reach this process alone, so the worker has a process group of its own.
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", RUN, str(ROOT), *map(str, passed)],
            pass_fds=passed,
            stdin=subprocess.DEVNULL,
            process_group=0,
        )
        theirs.close()
        os.close(order)

    async def listen(self) -> None:
        """Take its messages until it has ended."""
        while words := await self._hear():
            self._take(words)
        await trio.to_thread.run_sync(self._process.wait)
        with open(self._result) as file:
            file.seek(0)
            self._conclude(file.read())
        self._control.close()
        self.ended.set()

    async def _hear(self) -> bytes:
        await trio.lowlevel.wait_readable(self._control)
        with suppress(ConnectionResetError):
            return self._control.recv(1 << 18)
        return b""

    def _take(self, words: bytes) -> None:
        for word, value in json.loads(words).items():
            if word == "ready":
                self.ready.set()
            elif word == "progress":
                self.progress = Progress(*value)
            elif word == "failed":
                self._failed(Failure(*value))
            elif word == "warned":
                self._warned(value)
            elif word == "received":
                self._received = value
                self._counted.set()

    def _conclude(self, result: str) -> None:
        status = self._process.returncode
        if self._is_killed:
            how = "gave no answer and was killed"
        elif status < 0:
            how = f"was ended by signal {-status} ({signal.strsignal(-status)})"
        elif not result:
            how = f"ended with status {status}"
        elif "error" in (content := json.loads(result)):
            kinds = {kind.__name__: kind for kind in (UsageError, TakenOver)}
            self._error = kinds.get(content["kind"], ShaperError)(content["error"])
            return
        else:
            self.result = content
            return
        self._error = ShaperError(f"{self._name} {how}, so all workers have ended; what they held goes on unshaped")

    def check(self) -> None:
        """Make sure that it ended in order.

        Raises:
            ShaperError: it did not; UsageError or TakenOver if that is what ended it.
        """
        if self._error is not None:
            raise self._error

    async def count(self) -> int:
        """How many packets its queue received, once it has taken them all; never returns if it hangs or has ended."""
        self._counted, self._is_silent = trio.Event(), True
        with suppress(OSError):
            self._control.send(COUNT)
        await self._counted.wait()
        self._is_silent = False
        return self._received

    def kill_if_silent(self) -> None:
        """Kill it if it was asked to count and hasn't answered."""
        if self._is_silent:
            self.kill()

    def stop(self) -> None:
        """Ask it to end; the rules must be detached."""
        with suppress(OSError):
            self._control.send(STOP)

    def kill(self) -> None:
        """Kill it, unless it has ended; its guardian lets its packets go on."""
        if not self.ended.is_set():
            self._is_killed = True
            self._process.kill()
