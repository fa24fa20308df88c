"""What the paced sender and counting receiver (c/load.c) saw."""

import json
from typing import NamedTuple

from bench.namespace import Namespace
from bench.programs import program

SECOND = 1_000_000_000


class Load(NamedTuple):
    """One run's counts; latencies in ns from sending to receipt."""

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
        """Packets/s received while the sender sent."""
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
) -> Load:
    """Send UDP packets over lo and receive them.

    Args:
        rate: packets/s; 0 sends as many as the window allows.
        length: bytes of an IP packet.
        flows: source addresses, taken in turn.
        row: packets of a flow before it is the next one's turn.
        window: packets on the way at most; 0 is no bound.
        watch: look for receipts all the time, for exact latencies; else every millisecond.
        patience: how long to wait for packets still on their way, in ns without a receipt.
    """
    command = [program("load"), "-r", f"{rate:.0f}", "-t", str(seconds), "-l", str(length), "-f", str(flows)]
    command += ["-n", str(row), "-g", str(patience)]
    command += (["-w", str(window)] if window else []) + (["-d", "0"] if watch else [])
    return Load(**json.loads(namespace.run(command, timeout=seconds + 110)))
