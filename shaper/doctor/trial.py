"""Tries what the kernel can do, in a child process with its own network namespace."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from shaper.errors import ShaperError
from shaper.linux import namespace
from shaper.linux.libc import CLONE_NEWUSER, unshare
from shaper.linux.programs import find
from shaper.linux.scheduling import FIFO, PRIORITY, check, set_policy
from shaper.live.nfqueue.queue import HEADERS, Queue
from shaper.live.rules import iptables
from shaper.live.rules.rules import Match, Rules

NUMBER = 0
PORT = 9
WHOLE_PACKET = "1,6 0 0 65535"
"""BPF byte code that matches every packet."""


Outcomes = dict[str, str]
"""What was tried -> "" if it worked, else the reason why not; what could not be tried is missing."""


def in_child(trial: Callable[[], Outcomes]) -> Outcomes:
    """The outcomes of a trial that runs in a child process, so that nothing of it is left afterwards."""
    results, sink = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(sink, json.dumps(trial()).encode())
        finally:
            os._exit(0)
    os.close(sink)
    with open(results) as file:
        found = file.read()
    os.waitpid(pid, 0)
    return dict(json.loads(found or "{}"))


def kernel() -> Outcomes:
    """Whether a namespace can be made, and in it a queue, xt_bpf and netem, if the programs for them are installed."""
    outcomes = {"namespace": _outcome(namespace.enter)}
    if not outcomes["namespace"]:
        if find("iptables-restore"):
            outcomes |= {"queue": _outcome(_queue), "bpf": _outcome(_bpf)}
        if find("tc"):
            outcomes["netem"] = _outcome(_netem)
    return outcomes


def user_namespace() -> Outcomes:
    """Whether a user namespace can be made and used: AppArmor may allow the one and forbid the other."""

    def make() -> None:
        user = os.geteuid()
        unshare(CLONE_NEWUSER)
        Path("/proc/self/uid_map").write_text(f"0 {user} 1")

    return {"namespace": _outcome(make)}


def scheduling(cpus: Iterable[int]) -> Outcomes:
    """Whether this process may use SCHED_FIFO ("realtime"), and each of these CPUs (by its number)."""
    outcomes = {str(cpu): _outcome(partial(check, [cpu])) for cpu in cpus}
    return outcomes | {"realtime": _outcome(partial(set_policy, 0, FIFO, PRIORITY))}


def _outcome(attempt: Callable[[], object]) -> str:
    try:
        attempt()
    except (ShaperError, ImportError) as error:
        return str(error)
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _queue() -> None:
    """Send a packet through a rule and a queue."""
    Rules(Match(protocol="udp"), NUMBER).install()
    queue = Queue(NUMBER, copy_range=HEADERS, length=10, buffer=2**16)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"", ("127.0.0.1", PORT))
    if len(queue.take()) != 1:
        raise ShaperError("a packet that a rule queued did not reach the queue")


def _bpf() -> None:
    iptables.restore("ipv4", f'*mangle\n-A INPUT -m bpf --bytecode "{WHOLE_PACKET}" -j ACCEPT\nCOMMIT\n')


def _netem() -> None:
    done = subprocess.run(
        [str(find("tc")), "qdisc", "add", "dev", "lo", "root", "netem"],
        capture_output=True,
        encoding="utf-8",
        errors="replace",
    )
    if done.returncode:
        raise ShaperError(done.stderr.strip().removeprefix("Error: ").rstrip("."))
