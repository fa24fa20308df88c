"""Binds one NFQUEUE through NetfilterQueue, until SIGINT; all Python peers start here."""

import json
import signal
import socket
from collections.abc import Callable
from typing import Any

from netfilterqueue import NetfilterQueue

SO_RCVBUFFORCE = 33  # socket(7); not in Python's socket module


def bind(number: int, on_packet: Callable[[Any], None], *, copied: int = 65535) -> NetfilterQueue:
    """The bound queue, with as much room for bursts as every subject has."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    queue = NetfilterQueue()
    queue.bind(number, on_packet, max_len=65535, range=copied)
    with socket.fromfd(queue.get_fd(), socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 16 << 20)
    return queue


def report(taken: int) -> None:
    """Print how many packets were taken, as the bench reads it."""
    print(json.dumps({"taken": taken}))
