"""A network namespace of its own for one measurement, and programs pinned inside it."""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from bench.compiled import BenchError

PORT = 9999
QUEUE = 0
CONSUMER_CPU, LOAD_CPU = 1, 0
# Where the kernel groups tasks by session (sched(7), autogroup), a nice value counts only inside the group.
PINNED = "{ echo -20 > /proc/self/autogroup; } 2>/dev/null; exec nice -n -20 taskset -c"
RULE = "iptables -w -A INPUT -i {device} -p {protocol} -j NFQUEUE {queues}"
ADDRESS, BESIDE = "198.18.0.1", "198.18.0.2"
"""The addresses of a veth pair's two ends (in RFC 2544's network for benchmarks)."""


class QueueCounts(NamedTuple):
    """Counts from /proc/net/netfilter/nfnetlink_queue: packets held, and packets lost because there was no room."""

    held: int
    queue_full: int
    buffer_full: int


class Namespace:
    """A network namespace with lo, which has the MTU of Ethernet. `close` ends all that was started in it.

    With `veth`, there is such a device too. Then its packets are queued, not those of lo, and its
    other end is in a namespace beside this one.

    Every program runs in a session of its own at nice -20, so that other work on the machine disturbs it least.

    Args:
        protocol: whose packets are queued; None for no rule.
        queues: how many queues the packets are balanced over.

    Raises:
        BenchError: not root.
    """

    def __init__(self, protocol: str | None = "udp", *, mtu: int = 1500, veth: bool = False, queues: int = 1) -> None:
        if os.geteuid() != 0:
            raise BenchError("needs root: namespaces, pinned processes and 16 MB of socket buffer")
        self._queues = range(QUEUE, QUEUE + queues)
        self._keepers: list[subprocess.Popen[str]] = []
        self._started: list[subprocess.Popen[str]] = []
        set_up = [f"ip link set lo up mtu {mtu}"]
        if veth:
            beside = self._keep("true")
            set_up += [
                f"ip link add veth0 mtu {mtu} type veth peer name veth1 mtu {mtu} netns {beside.pid}",
                f"ip address add {ADDRESS}/30 dev veth0",
                "ip link set veth0 up",
                f"{inside(beside)} ip address add {BESIDE}/30 dev veth1",
                f"{inside(beside)} ip link set veth1 up",
            ]
        if protocol:
            target = f"--queue-num {QUEUE}" if queues == 1 else f"--queue-balance {QUEUE}:{self._queues[-1]}"
            set_up.append(RULE.format(protocol=protocol, device="veth0" if veth else "lo", queues=target))
        keeper = self._keep(" && ".join(set_up))
        self.proc = Path(f"/proc/{keeper.pid}/net")

    def _keep(self, set_up: str) -> subprocess.Popen[str]:
        """A process that keeps a new namespace alive, after it has been set up."""
        script = f"{set_up} && echo ready && exec sleep infinity"
        keeper = subprocess.Popen(["unshare", "-n", "sh", "-c", script], stdout=subprocess.PIPE, text=True)
        self._keepers.append(keeper)
        assert keeper.stdout is not None
        if keeper.stdout.readline() != "ready\n":
            self.close()
            raise BenchError("can't make a network namespace with an NFQUEUE rule (ip, iptables)")
        return keeper

    def close(self) -> None:
        """End all that was started in the namespace, and the namespace."""
        for process in reversed([*self._keepers, *self._started]):
            process.kill()
            process.communicate()

    def start(self, command: Sequence[str], cpu: int = CONSUMER_CPU, *, beside: bool = False) -> subprocess.Popen[str]:
        """Start a program in the namespace, or in the one beside it; its standard output and error are pipes."""
        keeper = self._keepers[0 if beside else -1]
        process = subprocess.Popen(
            [*inside(keeper).split(), "sh", "-c", f'{PINNED} {cpu} "$@"', "sh", *command],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._started.append(process)
        return process

    def run(self, command: Sequence[str], cpu: int = LOAD_CPU, timeout: float = 120, *, beside: bool = False) -> str:
        """Run a program to its end. Returns its standard output.

        Raises:
            BenchError: it failed, or took longer.
        """
        process = self.start(command, cpu, beside=beside)
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            raise BenchError(f"{command[0]} did not end in {timeout:.0f} s") from None
        if process.returncode:
            raise BenchError(f"{' '.join(command)}: {err.strip()}")
        return out

    def queue(self) -> QueueCounts | None:
        """The counts of the queue, or the sums if there are several; None while one of them is not bound."""
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


def inside(keeper: subprocess.Popen[str]) -> str:
    """The beginning of a command that runs in a keeper's namespace."""
    return f"nsenter --net=/proc/{keeper.pid}/ns/net"
