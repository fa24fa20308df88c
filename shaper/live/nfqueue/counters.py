"""What the kernel counts for each queue, in /proc/net/netfilter/nfnetlink_queue.

Its columns are those of seq_show in net/netfilter/nfnetlink_queue.c. With the fail-open flag, packets pass a full
queue uncounted here; `RuleSet.look` counts them.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

PATH = Path("/proc/thread-self/net/netfilter/nfnetlink_queue")


class Counters(NamedTuple):
    """One queue's row.

    Attributes:
        held: packets that await their verdict.
        lost_queue_full: packets dropped because the queue was full.
        lost_buffer_full: packets dropped because the socket's buffer was full.
    """

    held: int
    lost_queue_full: int
    lost_buffer_full: int


class QueueCounters:
    """The counters of one queue of this network namespace.

    Only root may open the file, so make this before privileges are dropped. In a user namespace not even root may.

    Args:
        queue: the number of the queue.
    """

    def __init__(self, queue: int) -> None:
        self._queue = queue
        self._file: int | None = None
        with suppress(OSError):
            self._file = os.open(PATH, os.O_RDONLY)

    def read(self) -> Counters | None:
        """The counters now; None where the kernel doesn't show them, or no one is bound to the queue."""
        if self._file is None:
            return None
        text = b""
        # Read anew each time, some dozen times a second, so without a file object, which needs five calls for it.
        while part := os.pread(self._file, 1 << 16, len(text)):
            text += part
        return _parse(text.decode()).get(self._queue)

    def close(self) -> None:
        """Close the file; after that, `read` must not be called."""
        if self._file is not None:
            os.close(self._file)


def bound() -> set[int]:
    """The numbers of the queues that programs are bound to, as far as the kernel shows them."""
    try:
        return set(_parse(PATH.read_text()))
    except OSError:
        return set()


def binder(queue: int) -> int | None:
    """The process that is bound to a queue; None if there is none, or the kernel doesn't say.

    The kernel shows the port of its socket, which for the first netlink socket of a process is the process's number.
    """
    with suppress(OSError):
        for line in PATH.read_text().splitlines():
            number, port, *_ = map(int, line.split())
            if number == queue:
                return port
    return None


def _parse(text: str) -> dict[int, Counters]:
    rows = {}
    for line in text.splitlines():
        queue, _portid, held, _mode, _range, queue_full, buffer_full, *_ = map(int, line.split())
        rows[queue] = Counters(held, queue_full, buffer_full)
    return rows
