"""The guardian: a second, small process that holds the queue's socket too.

The kernel drops all that a queue holds when its last socket closes, so a crashed engine
would lose every packet it held. The guardian gets the socket by inheritance and waits. When
the engine ends without a word, or gives no sign of life, it accepts everything the queue
holds, removes the rules, accepts what still comes until the queue stays empty, and ends.

It is in a session of its own: Ctrl-C, Ctrl-Z and a closed terminal don't reach it.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from shaper.errors import ShaperError
from shaper.live import chain, endless
from shaper.live.iptables import Family
from shaper.live.netlink import ACK_OF_NOTHING, accept_all, errors_in
from shaper.live.owner import Owner
from shaper.units import format_duration, ms

BEAT, GOODBYE = b".", b"bye"


class Charge(NamedTuple):
    """What the guardian is told: the queue's socket, whose the rules are and in which families, and the engine.

    `watchdog` is the longest time without a sign of life, in ns.
    """

    queue: int
    owner: Owner
    families: tuple[Family, ...]
    watchdog: int
    engine: int

    @classmethod
    def read(cls, text: str) -> Charge:
        queue, owner, families, watchdog, engine = json.loads(text)
        return cls(queue, Owner(*owner), tuple(families), watchdog, engine)


class TakenOver(ShaperError):
    """The guardian has let all packets go on and removed the rules, so the engine has nothing left to do."""


class Guardian:
    """The engine's side: starts the process and shows it signs of life.

    Args:
        queue: the queue's socket; its number; who owns the rules, in which families.
        watchdog: the longest time without a `beat`, in ns.

    Attributes:
        pid: the process.
    """

    def __init__(self, queue: int, owner: Owner, families: Sequence[Family], *, watchdog: int) -> None:
        self._charge = Charge(queue, owner, tuple(families), watchdog, os.getpid())
        self._start()

    def _start(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        # The guardian inherits the mask, so that none of these ends it, from its first instruction on.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
        # By exec, never by a fork alone: a fork of a running trio would share its epoll and its threads' locks.
        self._process = subprocess.Popen(
            [sys.executable, "-m", "shaper.live.guardian", str(theirs.fileno()), json.dumps(self._charge)],
            pass_fds=(self._charge.queue, theirs.fileno()),
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        theirs.close()
        ours.setblocking(False)
        self._beats = ours
        self.pid = self._process.pid

    def beat(self) -> None:
        """A sign of life; a guardian that has died is followed by another.

        Raises:
            TakenOver: it took the engine for dead.
        """
        try:
            self._beats.send(BEAT)
        except BlockingIOError:
            pass  # it has enough to read
        except OSError:
            self._beats.close()
            if self._process.wait() == 0:
                raise TakenOver(
                    "shaper gave no sign of life, so its guardian let all held packets go on and removed the rules"
                ) from None
            self._start()

    def dismiss(self) -> None:
        """The engine ends in order: the guardian has nothing to do but to end too."""
        with suppress(OSError):
            self._beats.send(GOODBYE)
        self._beats.close()
        self._process.wait()


def accept_held(queue: int, number: int) -> bool:
    """Let every packet go on that the queue holds; whether there were any.

    Raises:
        OSError: the socket is closed.
    """
    os.write(queue, accept_all(number))
    verdicts = []
    # Packets that the engine has not read come first; their ids are among those just accepted.
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, fileno=os.dup(queue)) as source:
        while select.select([source], [], [], 0)[0]:
            try:
                # An engine that was only slow may read too, and leave nothing to wait for.
                verdicts += errors_in(source.recv(1 << 16, socket.MSG_DONTWAIT))
            except OSError:
                continue  # ENOBUFS: messages were lost, and the packets of some with them
    return verdicts != [ACK_OF_NOTHING, ACK_OF_NOTHING]


def rescue(charge: Charge) -> None:
    """Empty the queue, remove the rules, and accept what still comes until the queue stays empty."""
    number = charge.owner.queue
    accept_held(charge.queue, number)
    for family in charge.families:
        with suppress(ShaperError):
            chain.remove(family, charge.owner)
    quiet = 0
    while quiet < 3:
        quiet = 0 if accept_held(charge.queue, number) else quiet + 1
        time.sleep(0.01)


def watch(beats: socket.socket, charge: Charge) -> str | None:
    """Wait for the engine's end; why it has to be rescued, or None if it ended in order."""
    poll = select.poll()
    poll.register(beats, select.POLLIN)
    watchdog = charge.watchdog
    while True:
        before = time.monotonic_ns()
        if poll.poll(watchdog / ms):
            words = beats.recv(1 << 10)
            if words == GOODBYE:
                return None
            if not words:
                return "the engine has died"
            continue
        # When this process was halted too, with the machine or by its scheduler, the engine gets another turn.
        was_halted = time.monotonic_ns() - before > 2 * watchdog
        if not was_halted and not _is_debugged(charge.engine):
            return f"the engine has given no sign of life for {format_duration(watchdog)}"


def _is_debugged(pid: int) -> bool:
    """A debugger has halted the process, see TracerPid in proc(5)."""
    with suppress(OSError):
        status = Path(f"/proc/{pid}/status").read_text()
        return "\nTracerPid:\t0\n" not in status
    return False


def main() -> None:
    beats, charge = socket.socket(fileno=int(sys.argv[1])), Charge.read(sys.argv[2])
    reason = watch(beats, charge)
    if reason is None:
        return
    rescue(charge)
    if os.getppid() == charge.engine:
        os.kill(charge.engine, endless.SIGNAL)
    beats.close()
    with suppress(OSError):
        print(f"shaper: {reason}; its packets have gone on, its rules are removed", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
