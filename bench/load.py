"""A load of UDP packets, by the paced sender and counting receiver in c/load.c."""

import json
from typing import NamedTuple

from bench.compiled import program
from bench.namespace import Namespace

SECOND = 1_000_000_000


PRIORITY = 10
"""Of the load under SCHED_FIFO; it is alone on its CPU there, so any would do."""


class Load(NamedTuple):
    """The counts of one run, and latencies in ns from sending to receipt.

    Attributes:
        behind: how many packets the sender was behind its pace at most.
        end_p50: the median latency of the last tenth of the packets.
    """

    sent: int
    received: int
    received_while_sending: int
    duplicates: int
    reordered: int
    receiver_overflow: int
    seconds: float
    behind: int
    mean: float
    min: int
    p50: int
    p99: int
    p999: int
    max: int
    end_p50: int

    @property
    def rate(self) -> float:
        """Packets/s received while the sender was sending."""
        return self.received_while_sending / self.seconds


def load(
    namespace: Namespace,
    *,
    rate: float = 0,
    seconds: float = 1,
    length: int = 64,
    flows: int = 1,
    row: int = 1,
    window: int = 0,
    watch: bool = False,
    patience: int = 2 * SECOND,
    sleeps: bool = False,
    before_others: bool = False,
) -> Load:
    """Send UDP packets over lo, and receive them.

    Args:
        rate: packets/s; 0 for as many as the window allows.
        seconds: how long to send.
        length: bytes of an IP packet.
        flows: source addresses, taken in turn.
        row: how many packets of a flow are sent before it is the next flow's turn.
        window: the most packets on their way at once; 0 for no bound.
        watch: look for packets to receive all the time, for exact latencies; otherwise every millisecond.
        patience: after this time (ns) without a receipt, packets still on their way are lost.
        sleeps: between packets, so that others can use the CPU; each is sent a little later.
        before_others: under SCHED_FIFO, so that others on the CPU make no packet late; only with `sleeps`.
    """
    command = ["chrt", "--fifo", str(PRIORITY)] if before_others else []
    command += [program("load"), "-r", f"{rate:.0f}", "-t", str(seconds), "-l", str(length), "-f", str(flows)]
    command += ["-n", str(row), "-g", str(patience)]
    command += (["-w", str(window)] if window else []) + (["-d", "0"] if watch else [])
    command += ["-s"] if sleeps else []
    return Load(**json.loads(namespace.run(command, timeout=seconds + 110)))
