"""The engine's side of the guardian: starts the process, shows it signs of life, asks it to see to the rules.

What the guardian itself does is in rescue.py.
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
from shaper.linux import proc
from shaper.live.guardian.rescue import BEAT, GOODBYE, GuardianOrder
from shaper.live.rules.iptables import Family, RulesError
from shaper.live.rules.owner import Owner
from shaper.live.rules.ruleset import RulesState

RUN = (
    "import sys; sys.path.append(sys.argv[1]); "
    "from shaper.live.guardian.rescue import main; main(*map(int, sys.argv[2:]))"
)
"""Python's own library and shaper are all that it needs: neither is looked for in the working directory, where
anybody may have put a file, nor are installed packages gone through."""
ROOT = Path(__file__).parents[3]
MOST_DEATHS = 5
"""So many guardians are followed by another."""
PATIENCE = 1.0
"""After so many seconds without an answer it is looked whether the guardian can give one at all."""


class TakenOver(ShaperError):
    """The guardian has let all packets go on and removed the rules, so the engine has nothing left to do."""


class Guardian:
    """The process, as the engine sees it.

    Args:
        queue: the queue's socket.
        owner, rules: whose rules they are, and their text by family.
        watchdog: the longest time without a `beat`, in ns.
        number: the queue's, if not the one that the owner names.
        realtime: the engine is to be scheduled by SCHED_FIFO, so the guardian has to come before it.

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
    ) -> None:
        cpus = sorted(os.sched_getaffinity(0))
        self._order = GuardianOrder(queue, owner, dict(rules), watchdog, os.getpid(), number, cpus, realtime)
        self._turn = threading.Lock()
        self._request = threading.Lock()
        self._deaths = 0
        self._start()

    def _start(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        # Written before it starts, so that it knows all even if this process is killed meanwhile.
        order = os.memfd_create("order")
        os.write(order, json.dumps(self._order).encode())
        # The guardian inherits the mask, so that none of these ends it, from its first instruction on.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
        # By exec, never by a fork alone: a fork of a running trio would share its epoll and its threads' locks.
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", RUN, str(ROOT), str(theirs.fileno()), str(order)],
            pass_fds=(self._order.queue, theirs.fileno(), order),
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        theirs.close()
        os.close(order)
        ours.setblocking(False)
        self._beats = ours
        self.pid = self._process.pid

    def beat(self) -> None:
        """A sign of life; a guardian that has died or was stopped is followed by another.

        Raises:
            TakenOver: it took the engine for dead.
            ShaperError: it can't live here.
        """
        self._replace_stopped()
        self._say(BEAT)

    def look(self) -> RulesState:
        """See `RuleSet.look`; takes as long as iptables does, so that it is for another thread. So for the others."""
        return RulesState(*self._ask("look"))

    def detach(self) -> None:
        self._ask("detach")

    def remove(self) -> None:
        self._ask("remove")

    def restore(self) -> None:
        self._ask("restore")

    def _say(self, word: bytes) -> socket.socket:
        """Send a word; returns the socket on which an answer will come."""
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
                while not select.select([beats], [], [], PATIENCE)[0] and beats is self._beats:
                    self._replace_stopped()
                # From one that was replaced there is nothing to read, so the next one is asked.
                with suppress(OSError):
                    answer = beats.recv(1 << 12)
        value, error = json.loads(answer)
        if error is not None:
            raise RulesError(error)
        return value

    def _replace_stopped(self) -> None:
        """A guardian that somebody has stopped, by SIGSTOP, can't help; should it be continued, it only ends."""
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
        with suppress(OSError):
            return proc.stat(self.pid).state == "T"
        return False

    def _follow(self) -> None:
        """Start another guardian after the last one's end."""
        if self._process.wait() == 0:
            raise TakenOver(
                "shaper gave no sign of life, so its guardian let all held packets go on and removed the rules"
            )
        self._deaths += 1
        if self._deaths > MOST_DEATHS:
            raise ShaperError("shaper's guardian dies again and again; `shaper clean` removes what is left")
        self._start()

    def dismiss(self) -> None:
        """The engine ends in order: the guardian has nothing to do but to end too."""
        with suppress(OSError):
            self._beats.send(GOODBYE)
        self._beats.close()
        while True:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(PATIENCE)
                return
            if self._is_stopped():
                with suppress(PermissionError):
                    self._process.kill()
                return
