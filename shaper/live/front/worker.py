"""An engine's process as its front sees it; what the process itself does is in process.py."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import trio

from shaper.core.failure import Failure
from shaper.errors import ShaperError, UsageError
from shaper.linux import proc
from shaper.live.front.forkserver import ForkServer
from shaper.live.front.process import SIGNALS, be_engine
from shaper.live.front.results import Result
from shaper.live.guardian.guardian import TakenOver
from shaper.live.progress import Progress
from shaper.live.rules.ruleset import RuleSet
from shaper.live.settings import Settings


class _Question:
    """A request that waits for its answer."""

    def __init__(self) -> None:
        self.answered = trio.Event()
        self.answer: dict[str, Any] = {}


class Worker:
    """An engine's process, forked by a server, or else from this one, in which trio and other threads may not run yet.

    Args:
        name: what it is called in messages; empty if it is the only one.
        settings: its own.
        rules: gives the rules that bring packets to the queue of this number; None if there are none.
        failed, warned: see `session.shape`.
        stop: is called when it asks the front to end the run, or the guardian has given it up.
        others: those that were started before it.
        namespace: the descriptor of its network namespace, if it isn't this one; only with a server.
        server: what forks it; None if this process does.

    Attributes:
        pid: the process.
        ready: set when its packets can come.
        ended: set when the process has ended.
        progress: its state when it was last asked to count.
        result: its counts, if it ended in order.
    """

    def __init__(
        self,
        name: str,
        settings: Settings,
        rules: Callable[[int], RuleSet | None],
        failed: Callable[[Failure], None],
        warned: Callable[[str], None],
        stop: Callable[[], None],
        others: Sequence[Worker],
        namespace: int | None = None,
        server: ForkServer | None = None,
    ) -> None:
        self.ready, self.ended = trio.Event(), trio.Event()
        self.progress = Progress()
        self.result: Result | None = None
        self._name = name
        self._rules = rules
        self._failed, self._warned, self._stop = failed, warned, stop
        self._error: ShaperError | None = None
        self._questions: dict[int, _Question] = {}
        self._asked = 0
        self._is_killed = False
        self._silent = ""  # how the guardian found out that it can't go on, if it had to be killed for that
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._result_file = os.fdopen(os.memfd_create("result"), "w+", encoding="utf-8")
        self._server = server
        if server is not None and namespace is not None:
            self.pid = server.fork(settings, (theirs.fileno(), self._result_file.fileno(), namespace))
        else:
            self.pid = self._fork(settings, theirs, others)
        theirs.close()

    def _fork(self, settings: Settings, theirs: socket.socket, others: Sequence[Worker]) -> int:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()  # what waits there would be written twice
        # None of these may come before it has handlers of its own.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        pid = os.fork()
        if pid == 0:
            # While it had them open, nobody would notice that the front has died.
            for each in (*others, self):
                each._control.close()
            be_engine(settings, theirs, self._result_file)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        return pid

    async def listen(self) -> None:
        """Take its messages until it has ended, and its guardian too."""
        while words := await self._hear():
            self._take(json.loads(words))
        status = await trio.to_thread.run_sync(self._wait)
        with self._result_file as file:
            file.seek(0)
            self._conclude(os.waitstatus_to_exitcode(status), file.read())
        self._control.close()
        self.ended.set()
        for question in self._questions.values():
            question.answered.set()

    def _wait(self) -> int:
        """Its status, as waitpid(2) gives it, once it has ended."""
        if self._server is None:
            return os.waitpid(self.pid, 0)[1]
        with suppress(ShaperError):
            return self._server.wait(self.pid)
        return 0  # nobody knows any more

    async def _hear(self) -> bytes:
        await trio.lowlevel.wait_readable(self._control)
        with suppress(ConnectionResetError):
            return self._control.recv(1 << 18)
        return b""

    def _take(self, words: dict[str, Any]) -> None:
        match words:
            case {"id": number, **answer}:
                if "progress" in answer:
                    self.progress = Progress(*answer["progress"])
                if (question := self._questions.get(number)) is not None:
                    question.answer = answer
                    question.answered.set()
            case {"bound": number}:
                rules = self._rules(number)
                self._send(rules=rules and (rules.owner, rules.text(), rules.mark))
            case {"ready": _}:
                self.ready.set()
            case {"failed": failure}:
                self._failed(Failure(*failure))
            case {"warned": message}:
                self._warned(message)
            case {"rescued": reason}:
                self._stop()
                with suppress(OSError):
                    if proc.stat(self.pid).state == "T":  # it would never find out
                        self._silent = reason
                        os.kill(self.pid, signal.SIGKILL)
            case {"stop": _}:
                self._stop()

    def _send(self, **words: Any) -> None:
        with suppress(OSError):
            self._control.send(json.dumps(words).encode(), socket.MSG_DONTWAIT)

    def _conclude(self, status: int, result: str) -> None:
        content = json.loads(result or "{}")
        if "error" in content:
            found = TakenOver if content["taken_over"] else UsageError if content["usage"] else ShaperError
            self._error = found(content["error"])
            self._error.details = content["details"]
            return
        if content:
            self.result = content
            return
        name = self._name or "the engine"
        kind: type[ShaperError] = ShaperError
        if self._is_killed:
            how = f"{name} gave no answer and was killed"
        elif self._silent:
            # The guardian speaks of its engine, whose name it doesn't know.
            how, kind = self._silent.replace("the engine", name), TakenOver
        elif status < 0:
            how = f"{name} was ended by signal {-status} ({signal.strsignal(-status)})"
        else:
            how = f"{name} ended with status {status}"
        others = ", so all workers have ended" if self._name else ""
        self._error = kind(f"{how}{others}; what was held goes on unshaped, and the rules are removed")

    def check(self) -> None:
        """Make sure that it ended in order.

        Raises:
            ShaperError: it did not; UsageError or TakenOver if that is what ended it.
        """
        if self._error is not None:
            raise self._error

    async def ask(self, what: str, **arguments: Any) -> Any:
        """Ask it something; returns its answer.

        Raises:
            UsageError, ShaperError: what the answer says is wrong.
            ShaperError: it has ended.
        """
        self._asked += 1
        number, question = self._asked, _Question()
        self._questions[number] = question
        try:
            self._send(id=number, ask=what, **arguments)
            if not self.ended.is_set():
                await question.answered.wait()
        finally:
            del self._questions[number]
        if "error" in question.answer:
            raise (UsageError if question.answer["usage"] else ShaperError)(question.answer["error"])
        if "value" not in question.answer:
            raise ShaperError(f"{self._name or 'the engine'} has ended")
        return question.answer["value"]

    def stop(self) -> None:
        """Ask it to end; the rules must be detached."""
        self._send(ask="stop")

    def kill(self) -> None:
        """Kill it, unless it has ended; its guardian lets its packets go on."""
        if not self.ended.is_set():
            self._is_killed = True
            os.kill(self.pid, signal.SIGKILL)
