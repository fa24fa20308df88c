"""The guardian: a second, small process that holds the queue's socket too.

The kernel drops all that a queue holds when its last socket closes, so a crashed engine
would lose every packet it held. The guardian gets the socket by inheritance and waits. When
the engine ends without a word, or gives no sign of life, it accepts everything the queue
holds, removes the rules, accepts meanwhile what still comes until the queue stays empty, and ends.

It also looks at the rules and removes them when the engine asks for it, which runs other
people's policies and so may do little itself (see privileges.py).

It is in a session of its own: Ctrl-C, Ctrl-Z and a closed terminal don't reach it.
"""

from __future__ import annotations

import json
import os
import select
import socket
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from shaper.errors import ShaperError
from shaper.linux import proc
from shaper.linux.proc import SchedStat
from shaper.linux.scheduling import FIFO, NORMAL, PRIORITY, set_policy
from shaper.live.guardian import endless
from shaper.live.nfqueue.netlink import ACK_OF_NOTHING, accept_all, errors_in
from shaper.live.rules.iptables import Family
from shaper.live.rules.owner import Owner
from shaper.live.rules.ruleset import RuleSet
from shaper.units import format_duration, ms

BEAT, GOODBYE = b".", b"bye"
START = 10
"""Times the watchdog until the first sign of life: an engine that starts sets the rules, which may take long."""
AT_ONCE = 1000
"""Messages read before what came meanwhile is accepted: a flood may come faster than it can be read."""


class GuardianOrder(NamedTuple):
    """What the guardian is told: the queue's socket, whose the rules are and what they are, and the engine.

    `watchdog` is the longest time without a sign of life, in ns. `number` is the queue's, if not the one that
    the owner names. `cpus` are those that the guardian may run on; with `realtime` it comes before the engine.
    """

    queue: int
    owner: Owner
    rules: Mapping[Family, str]
    watchdog: int
    engine: int
    number: int | None = None
    cpus: Sequence[int] = ()
    realtime: bool = False

    @classmethod
    def read(cls, text: str) -> GuardianOrder:
        order = cls(*json.loads(text))
        return order._replace(owner=Owner(*order.owner))


def accept_held(queue: int, number: int) -> bool:
    """Let every packet go on that the queue holds; whether there were any.

    Raises:
        OSError: the socket is closed.
    """
    os.write(queue, accept_all(number))
    verdicts = []
    # Packets that the engine has not read come first; their ids are among those just accepted.
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, fileno=os.dup(queue)) as source:
        for _ in range(AT_ONCE):
            if not select.select([source], [], [], 0)[0]:
                break
            try:
                # An engine that was only slow may read too, and leave nothing to wait for.
                verdicts += errors_in(source.recv(1 << 16, socket.MSG_DONTWAIT))
            except OSError:
                continue  # ENOBUFS: messages were lost, and the packets of some with them
    return verdicts != [ACK_OF_NOTHING, ACK_OF_NOTHING]


def rescue(order: GuardianOrder) -> None:
    """Empty the queue and remove the rules, while what still comes goes on at once, until the queue stays empty."""
    number = order.owner.queue if order.number is None else order.number
    accept_held(order.queue, number)
    # It takes as long as iptables does, on a busy machine a tenth of a second.
    removal = threading.Thread(target=_remove, args=(RuleSet(order.owner, order.rules),))
    removal.start()
    poll = select.poll()
    poll.register(order.queue, select.POLLIN)
    quiet = 0
    while removal.is_alive() or quiet < 3:
        poll.poll(10)
        quiet = 0 if accept_held(order.queue, number) else quiet + 1


def _remove(rules: RuleSet) -> None:
    with suppress(ShaperError):
        rules.remove()


def watch(beats: socket.socket, order: GuardianOrder) -> str | None:
    """Wait for the engine's end; why it has to be rescued, or None if it ended in order."""
    poll = select.poll()
    poll.register(beats, select.POLLIN)
    watchdog = order.watchdog
    turn = watchdog // 8
    silence, is_starting = 0, True
    lately = alive = _scheduled(order.engine)
    while True:
        before = time.monotonic_ns()
        if poll.poll(turn / ms):
            silence = 0
            lately = alive = _scheduled(order.engine)
            words = _words(beats)
            if words == GOODBYE:
                return None
            if not words:
                return "the engine has died"
            if words != BEAT:
                serve(beats, words.decode(), RuleSet(order.owner, order.rules))
            is_starting = False
            continue
        # When this process was halted too, with the machine or by its scheduler, that is no silence of the engine's.
        silence += min(time.monotonic_ns() - before, turn)
        if silence < (START * watchdog if is_starting else watchdog):
            continue
        silence = 0
        now = _scheduled(order.engine)
        # On a busy machine it may have had no time to tell; a loop without an end has had it.
        is_starved = now.waited - lately.waited > watchdog // 2 and now.ran - alive.ran < watchdog // 2
        lately = now
        if not is_starved and not _is_debugged(order.engine):
            return f"the engine has given no sign of life for {format_duration(watchdog)}"


def _words(beats: socket.socket) -> bytes:
    """What the engine says; nothing when it has died."""
    try:
        return beats.recv(1 << 10)
    except ConnectionResetError:
        return b""  # it died before it read the answer to a request


def serve(beats: socket.socket, word: str, rules: RuleSet) -> None:
    """Do to the rules what the engine asks for, and tell what came of it."""
    services = {"look": rules.look, "detach": rules.detach, "remove": rules.remove, "restore": rules.restore}
    answer: tuple[Any, str | None]
    try:
        answer = services[word](), None
    except ShaperError as error:
        answer = None, str(error)
    with suppress(OSError):
        beats.send(json.dumps(answer).encode())


def _scheduled(pid: int) -> SchedStat:
    with suppress(OSError):
        return proc.schedstat(pid)
    return SchedStat(0, 0)


def _is_debugged(pid: int) -> bool:
    """Whether a debugger, which may have halted it, is attached to a process."""
    with suppress(OSError):
        return proc.status("TracerPid", pid) != "0"
    return False


def main(beats_from: int, told_in: int) -> None:
    """The guardian's life.

    Args:
        beats_from: the descriptor of the socket through which it hears of the engine.
        told_in: the descriptor of the file that says what it is in order of.
    """
    beats = socket.socket(fileno=beats_from)
    with open(told_in) as file:
        file.seek(0)
        order = GuardianOrder.read(file.read())
    with suppress(OSError):
        # When memory runs out, the kernel is to end the engine, not this one; see proc(5). Root may say so.
        Path("/proc/self/oom_score_adj").write_text("-1000")
    with suppress(OSError):
        # Not on the engine's CPU alone, which it inherits if it follows a guardian that has died.
        os.sched_setaffinity(0, order.cpus)
    if order.realtime:
        with suppress(ShaperError):  # such a one may not; the kernel keeps 5 % of the time for it, see sched(7)
            set_policy(0, FIFO, PRIORITY + 1)
    reason = watch(beats, order)
    if reason is None:
        return
    if order.realtime:
        with suppress(ShaperError, OSError):
            # If it runs on without an end, iptables is to get a CPU too.
            set_policy(order.engine, NORMAL, 0)
    rescue(order)
    if os.getppid() == order.engine:
        os.kill(order.engine, endless.SIGNAL)
    beats.close()
    with suppress(OSError):
        print(f"shaper: {reason}; its packets have gone on, its rules are removed", file=sys.stderr, flush=True)
