"""A network namespace of its own for one measurement, and programs pinned inside it."""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from bench.programs import BenchError

PORT = 9999
QUEUE = 0
CONSUMER_CPU, LOAD_CPU = 1, 0
# Where the kernel groups tasks by session (sched(7), autogroup), nice counts inside of the group only.
PINNED = "{ echo -20 > /proc/self/autogroup; } 2>/dev/null; exec nice -n -20 taskset -c"
RULE = "iptables -w -A INPUT -i lo -p {protocol} -j NFQUEUE {queues}"


class QueueCounts(NamedTuple):
    """A line of /proc/net/netfilter/nfnetlink_queue: packets held, and lost for want of room."""

    held: int
    queue_full: int
    buffer_full: int


class Namespace:
    """lo with the MTU of Ethernet; `close` ends what was started in it.

    Every program runs in a session of its own at nice -20, so that other work on the machine disturbs least.

    Raises:
        BenchError: not root.
    """

    def __init__(self, protocol: str | None = "udp", *, mtu: int = 1500, queues: int = 1) -> None:
        if os.geteuid() != 0:
            raise BenchError("needs root: namespaces, pinned processes and 16 MB of socket buffer")
        self._queues = range(QUEUE, QUEUE + queues)
        target = f"--queue-num {QUEUE}" if queues == 1 else f"--queue-balance {QUEUE}:{self._queues[-1]}"
        rule = RULE.format(protocol=protocol, queues=target) if protocol else "true"
        script = f"ip link set lo up mtu {mtu} && {rule} && echo ready && exec sleep infinity"
        self._keeper = subprocess.Popen(["unshare", "-n", "sh", "-c", script], stdout=subprocess.PIPE, text=True)
        assert self._keeper.stdout is not None
        if self._keeper.stdout.readline() != "ready\n":
            raise BenchError("can't make a network namespace with an NFQUEUE rule (ip, iptables)")
        self.proc = Path(f"/proc/{self._keeper.pid}/net")
        self._started: list[subprocess.Popen[str]] = []

    def close(self) -> None:
        """End what was started in the namespace, and with it the namespace."""
        for process in [*reversed(self._started), self._keeper]:
            process.kill()
            process.communicate()

    def start(self, command: Sequence[str], cpu: int = CONSUMER_CPU) -> subprocess.Popen[str]:
        """Start a program in the namespace; its standard output is a pipe."""
        inside = ["nsenter", f"--net=/proc/{self._keeper.pid}/ns/net", "sh", "-c", f'{PINNED} {cpu} "$@"', "sh"]
        process = subprocess.Popen(
            [*inside, *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        self._started.append(process)
        return process

    def run(self, command: Sequence[str], cpu: int = LOAD_CPU, timeout: float = 120) -> str:
        """A program's standard output.

        Raises:
            BenchError: it failed, or took longer.
        """
        process = self.start(command, cpu)
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            raise BenchError(f"{command[0]} did not end in {timeout:.0f} s") from None
        if process.returncode:
            raise BenchError(f"{' '.join(command)}: {err.strip()}")
        return out

    def queue(self) -> QueueCounts | None:
        """The counts of the queue, or of all of them together; None while nobody has bound it, or one of them."""
        bound = []
        for line in (self.proc / "netfilter/nfnetlink_queue").read_text().splitlines():
            number, _, held, _, _, queue_full, buffer_full, *_ = map(int, line.split())
            if number in self._queues:
                bound.append((held, queue_full, buffer_full))
        return QueueCounts(*map(sum, zip(*bound, strict=True))) if len(bound) == len(self._queues) else None

    def receiver_drops(self) -> int:
        """UDP datagrams that found the receiver's buffer full (RcvbufErrors)."""
        names, values = [
            line.split() for line in (self.proc / "snmp").read_text().splitlines() if line.startswith("Udp:")
        ]
        return int(dict(zip(names, values, strict=True))["RcvbufErrors"])
