"""The guardian's process: a second, small one that has the queue's socket open too.

When a queue's last socket closes, the kernel drops all that the queue holds: a crashed engine would lose every packet
it held. The guardian inherits the socket and waits. When the engine ends without saying goodbye, or gives no sign of
life, the guardian accepts everything that the queue holds, removes the rules, meanwhile accepts what still comes until
the queue stays empty, and ends.

It also checks, changes and removes the rules when the engine asks it to, for the engine runs other people's policies
and so has few privileges (see linux/capabilities.py).

It is in a session of its own: Ctrl-C, Ctrl-Z and a closed terminal don't reach it. It imports little, so that it
starts soon and is small.
"""

from __future__ import annotations

import json
import os
import select
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from shaper.errors import ShaperError
from shaper.linux import proc
from shaper.linux.capabilities import take
from shaper.linux.proc import SchedStat
from shaper.linux.scheduling import FIFO, NORMAL, PRIORITY, set_policy
from shaper.live.guardian import endless
from shaper.live.nfqueue.netlink import ACK_OF_NOTHING, accept_all, errors_in
from shaper.live.rules.iptables import Family
from shaper.live.rules.owner import Owner
from shaper.live.rules.ruleset import RuleSet
from shaper.units import format_duration, ms

BEAT, GOODBYE, STOPS = b".", b"bye", b"stops"
START_FACTOR = 10
"""The first sign of life may take this many times the watchdog: an engine first sets the rules, which may take long."""
MESSAGES_PER_ROUND = 1000
"""Messages read before the next packets are accepted: a flood may come faster than it can be read."""


class GuardianOrder(NamedTuple):
    """What the guardian is started with.

    Attributes:
        queue: the descriptor of the queue's socket.
        owner: whose rules they are.
        rules: their text, by family.
        watchdog: the longest time without a sign of life, in ns.
        engine: the engine's process.
        number: the queue's, if not the one that the owner names.
        cpus: those that the guardian may run on.
        realtime: it runs under SCHED_FIFO, before the engine.
        front: the descriptor of a socket to the front, which wants to know of a rescue; None without a front.
        output: the descriptor and the number of a queue that packets on their way out pass first; None without one.
    """

    queue: int
    owner: Owner
    rules: Mapping[Family, str]
    watchdog: int
    engine: int
    number: int | None = None
    cpus: Sequence[int] = ()
    realtime: bool = False
    front: int | None = None
    output: Sequence[int] | None = None

    @classmethod
    def read(cls, text: str) -> GuardianOrder:
        """From JSON, as a tuple is written."""
        order = cls(*json.loads(text))
        return order._replace(owner=Owner(*order.owner))


def accept_held(queue: int, number: int) -> bool:
    """Let every packet go on that the queue holds; returns whether there were any.

    Raises:
        OSError: the socket is closed.
    """
    os.write(queue, accept_all(number))
    verdicts = []
    # Messages about packets that the engine has not read come first; those packets have just been accepted.
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, fileno=os.dup(queue)) as source:
        for _ in range(MESSAGES_PER_ROUND):
            if not select.select([source], [], [], 0)[0]:
                break
            try:
                # An engine that was only slow may read too and leave nothing here.
                verdicts += errors_in(source.recv(1 << 16, socket.MSG_DONTWAIT))
            except OSError:
                continue  # ENOBUFS: messages were lost, and the packets of some with them
    return verdicts != [ACK_OF_NOTHING, ACK_OF_NOTHING]


def rescue(order: GuardianOrder) -> None:
    """Accept all that the queue holds, and what still comes while the rules are removed, until it stays empty."""
    number = order.owner.queue if order.number is None else order.number
    # What is in the second one came later.
    queues = [(order.queue, number)] if order.output is None else [(order.queue, number), tuple(order.output)]
    for descriptor, number in queues:
        accept_held(descriptor, number)
    poll = select.poll()
    for descriptor, _ in queues:
        poll.register(descriptor, select.POLLIN)
    rules = RuleSet(order.owner, order.rules)
    # If connection tracking ends with the last of the rules, that drops what is held. So nothing may be held then.
    for step in (rules.detach, rules.remove):
        # This takes as long as iptables does: a tenth of a second on a busy machine.
        change = threading.Thread(target=_try, args=(step,))
        change.start()
        quiet = 0
        while change.is_alive() or quiet < 3:
            poll.poll(10)
            found = [accept_held(descriptor, number) for descriptor, number in queues]
            quiet = 0 if any(found) else quiet + 1


def _try(step: Callable[[], None]) -> None:
    with suppress(ShaperError):
        step()


def watch(beats: socket.socket, order: GuardianOrder) -> str | None:
    """Wait until the engine ends or falls silent, and answer its requests.

    Returns why its packets have to be rescued, or None if it ended in order.
    """
    poll = select.poll()
    poll.register(beats, select.POLLIN)
    watchdog = order.watchdog
    turn = watchdog // 8
    silence, is_starting, is_stopped = 0, True, False
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
            if words in (BEAT, STOPS):
                is_stopped = words == STOPS
            else:
                answer_request(beats, words.decode(), RuleSet(order.owner, order.rules))
            is_starting = False
            continue
        if is_stopped:
            continue
        # If this process was halted too, with the machine or by its scheduler, that time doesn't count as silence.
        silence += min(time.monotonic_ns() - before, turn)
        if silence < (START_FACTOR * watchdog if is_starting else watchdog):
            continue
        silence = 0
        now = _scheduled(order.engine)
        # On a busy machine it may have had no CPU time to give a sign; an endless loop has had it.
        is_starved = now.waited - lately.waited > watchdog // 2 and now.ran - alive.ran < watchdog // 2
        lately = now
        if not is_starved and not _is_debugged(order.engine):
            return f"the engine has given no sign of life for {format_duration(watchdog)}"


def _words(beats: socket.socket) -> bytes:
    """What the engine says; empty when it has died."""
    try:
        return beats.recv(1 << 10)
    except ConnectionResetError:
        return b""  # it died before it read the answer to a request


def answer_request(beats: socket.socket, word: str, rules: RuleSet) -> None:
    """Do to the rules what the engine asks for, and send it the outcome: a value, or an error's message."""
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


def main(beats_from: int, order_in: int) -> None:
    """Be the guardian, until the engine has ended or was rescued.

    Args:
        beats_from: the descriptor of the socket for signs of life and requests.
        order_in: the descriptor of the file that holds the order.
    """
    take()
    beats = socket.socket(fileno=beats_from)
    with open(order_in) as file:
        file.seek(0)
        order = GuardianOrder.read(file.read())
    with suppress(OSError):
        # When memory runs out, the kernel shall end the engine, not this one; see proc(5). Only root may ask for it.
        Path("/proc/self/oom_score_adj").write_text("-1000")
    with suppress(OSError):
        # A guardian that replaces another inherits the engine's one CPU.
        os.sched_setaffinity(0, order.cpus)
    if order.realtime:
        with suppress(ShaperError):  # a replacement may not; the kernel keeps 5 % of the time for it, see sched(7)
            set_policy(0, FIFO, PRIORITY + 1)
    reason = watch(beats, order)
    if reason is None:
        return
    if order.realtime:
        with suppress(ShaperError, OSError):
            # If it runs on for ever, iptables needs a CPU too.
            set_policy(order.engine, NORMAL, 0)
    rescue(order)
    if os.getppid() == order.engine:
        os.kill(order.engine, endless.SIGNAL)
    # Before anybody hears of it: when the front has ended, no queue is to be bound.
    for queue in (order.queue, *(order.output or ())[:1]):
        os.close(queue)
    beats.close()
    with suppress(OSError):
        if order.front is not None:
            with socket.socket(fileno=order.front) as front:
                front.send(json.dumps({"rescued": reason}).encode(), socket.MSG_DONTWAIT)
            return
    with suppress(OSError):
        print(f"shaper: {reason}; its packets have gone on, its rules are removed", file=sys.stderr, flush=True)
