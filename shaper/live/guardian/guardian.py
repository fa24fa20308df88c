"""The guardian as the engine sees it: starts the process, gives it signs of life, has it change the rules.

What the process itself does is in process.py.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from shaper.errors import ShaperError
from shaper.live.guardian.process import BEAT, GOODBYE, STOPS, GuardianOrder
from shaper.live.rules.iptables import Family, RulesError
from shaper.live.rules.owner import Owner
from shaper.live.rules.ruleset import RulesState
from shaper.verbose import detail

RUN = (
    "import sys; sys.path.append(sys.argv[1]); "
    "from shaper.live.guardian.process import main; main(*map(int, sys.argv[2:]))"
)
"""Python's own library and shaper are all that it needs. Neither is searched for in the working directory, where
anybody may have put a file, nor among installed packages, which would take time."""
ROOT = Path(__file__).parents[3]
MAX_RESTARTS = 5
"""How many guardians that died are replaced."""
ANSWER_TIMEOUT = 1.0
"""Seconds without an answer until it is checked whether the guardian can give one at all."""


class TakenOver(ShaperError):
    """The guardian has let all packets go on and removed the rules, so the engine has nothing left to do."""


class Guardian:
    """The process, started with this object and replaced when it dies.

    Args:
        queue: the queue's socket.
        owner: whose rules they are.
        rules: their text, by family.
        watchdog: the longest time without a `beat`, in ns.
        number: the queue's, if not the one that the owner names.
        realtime: the engine will run under SCHED_FIFO, so the guardian must come before it.
        front: the descriptor of the engine's socket to its front, if it has one; the guardian reports a rescue there.
        output: the queue that packets on their way out pass first, if there is one: its socket and its number.

    Attributes:
        pid: the process.
    """

    def __init__(
        self,
        queue: int,
        owner: Owner,
        rules: Mapping[Family, str],
        *,
        watchdog: int,
        number: int | None = None,
        realtime: bool = False,
        front: int | None = None,
        output: tuple[int, int] | None = None,
    ) -> None:
        cpus = sorted(os.sched_getaffinity(0))
        self._order = GuardianOrder(
            queue, owner, dict(rules), watchdog, os.getpid(), number, cpus, realtime, front, output
        )
        self._turn = threading.Lock()
        self._request = threading.Lock()
        self._deaths = 0
        self._start()

    def _start(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        # Written before it starts, so that it knows everything even if this process is killed meanwhile.
        order = os.memfd_create("order")
        os.write(order, json.dumps(self._order).encode())
        passed = [self._order.queue, theirs.fileno(), order]
        if self._order.front is not None:
            passed.append(self._order.front)
        if self._order.output is not None:
            passed.append(self._order.output[0])
        # The guardian inherits the mask, so that none of these ends it, not even at its start.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
        # By exec, never by a fork alone: a fork of a running trio would share its epoll and its threads' locks.
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", RUN, str(ROOT), str(theirs.fileno()), str(order)],
            pass_fds=passed,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        theirs.close()
        os.close(order)
        ours.setblocking(False)
        self._beats = ours
        self.pid = self._process.pid
        detail(f"the guardian of queue {self._order.number} is process {self.pid}")

    def beat(self) -> None:
        """Give a sign of life; a guardian that has died or was stopped is replaced.

        Raises:
            TakenOver: it took the engine for dead.
            ShaperError: guardians die again and again.
        """
        self._replace_stopped()
        self._say(BEAT)

    def stops(self) -> None:
        """The engine is about to be stopped, with its command: until the next `beat`, its silence is no sign of death.

        Raises:
            TakenOver: see `beat`.
            ShaperError: see `beat`.
        """
        self._replace_stopped()
        self._say(STOPS)

    def look(self) -> RulesState:
        """See `RuleSet.look`.

        This and the others take as long as iptables does, so they are for another thread. They raise RulesError, as
        those of `RuleSet` do, and what `beat` raises.
        """
        return RulesState(*self._ask("look"))

    def detach(self) -> None:
        """See `RuleSet.detach` and `look`."""
        self._ask("detach")

    def remove(self) -> None:
        """See `RuleSet.remove` and `look`."""
        self._ask("remove")

    def restore(self) -> None:
        """See `RuleSet.restore` and `look`."""
        self._ask("restore")

    def _say(self, word: bytes) -> socket.socket:
        """Send a word; returns the socket on which the answer will come."""
        with self._turn:
            while True:
                try:
                    self._beats.send(word)
                except BlockingIOError:
                    pass  # it has enough to read
                except OSError:
                    self._follow()
                    continue
                return self._beats

    def _ask(self, word: str) -> Any:
        answer = b""
        with self._request:
            while not answer:
                beats = self._say(word.encode())
                while not select.select([beats], [], [], ANSWER_TIMEOUT)[0] and beats is self._beats:
                    self._replace_stopped()
                # A guardian that was replaced gives no answer, so the next one is asked.
                with suppress(OSError):
                    answer = beats.recv(1 << 12)
        value, error = json.loads(answer)
        if error is not None:
            raise RulesError(error)
        return value

    def _replace_stopped(self) -> None:
        """Replace a guardian that was stopped, by SIGSTOP, and so can't help; should it be continued, it ends."""
        with self._turn:
            if not self._is_stopped():
                return
            process, beats = self._process, self._beats
            self._start()
            with suppress(OSError):
                beats.send(GOODBYE)
            with suppress(PermissionError):  # it is root's, and this process may no longer be
                process.kill()
                process.wait()

    def _is_stopped(self) -> bool:
        with suppress(ChildProcessError):  # it has ended
            return os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WNOHANG | os.WNOWAIT) is not None
        return False

    def _follow(self) -> None:
        """Start another guardian after the last one has ended."""
        if self._process.wait() == 0:
            raise TakenOver(
                "shaper gave no sign of life, so its guardian let all held packets go on and removed the rules"
            )
        self._deaths += 1
        if self._deaths > MAX_RESTARTS:
            raise ShaperError("shaper's guardian dies again and again; `shaper clean` removes what is left")
        self._start()

    def dismiss(self) -> None:
        """The engine ends in order: let the guardian end too, and wait for that."""
        with suppress(OSError):
            self._beats.send(GOODBYE)
        self._beats.close()
        while True:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(ANSWER_TIMEOUT)
                return
            if self._is_stopped():
                with suppress(PermissionError):
                    self._process.kill()
                return
