"""`shaper start` as a process, and traffic for it to shape."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

from shaper.live.nfqueue.counters import QueueCounters, bound

START = (sys.executable, "-m", "shaper", "start")
SO_RCVBUFFORCE = 33  # asm-generic/socket.h
OVERHEAD = 1024
"""Bytes that a datagram takes of a socket's buffer beside its payload, at most."""


class Shaper:
    """A running `shaper start`, from its first shaped packet on; stopped, if it still runs, at the end.

    Args:
        folder: for its files.
        arguments: its options.
    """

    def __init__(self, folder: Path, *arguments: str) -> None:
        folder.mkdir(exist_ok=True)
        self._summary = folder / "summary.json"
        self._errors = folder / "errors.txt"
        with self._errors.open("w") as errors:
            # Before all else on a busy machine, so that rates and times say something about shaper.
            self.process = subprocess.Popen(
                ["nice", "-n", "-20", *START, f"--json={self._summary}", *arguments],
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith("shaping "), self._errors.read_text()

    def stop(self, number: int = signal.SIGINT) -> dict[str, Any]:
        """End it by a signal; its summary."""
        self.process.send_signal(number)
        summary = self.result()
        assert "error" not in summary, summary["error"]
        return summary

    def result(self) -> dict[str, Any]:
        """Its summary, once it has ended."""
        self.status = self.process.wait(60)
        summary: dict[str, Any] = json.loads(self._summary.read_text())
        return summary

    @property
    def engines(self) -> list[int]:
        """Its engines' processes, in the order of their queues."""
        return [pid for pid in children(self.process.pid) if command_line(pid) == command_line(self.process.pid)]

    @property
    def engine(self) -> int:
        """Its one engine's process."""
        (pid,) = self.engines
        return pid

    @property
    def errors(self) -> str:
        return self._errors.read_text()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(60)
        assert self.process.stdout is not None
        self.process.stdout.close()


def children(pid: int) -> list[int]:
    """The processes that this one started, in order."""
    return sorted(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))


def command_line(pid: int) -> bytes:
    """How a process was called; empty once it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def wait_until_held(queue: int, at_least: int = 0, at_most: int = 1 << 16) -> None:
    """Until the kernel holds so many packets in this queue."""
    counters = QueueCounters(queue)
    deadline = time.monotonic() + 60
    while (row := counters.read()) is None or not at_least <= row.held <= at_most:
        assert time.monotonic() < deadline, row
        time.sleep(0.005)  # the kernel has no event for this
    counters.close()


def field(pid: int, name: str) -> str:
    """A field of /proc/pid/status, see proc(5)."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(line.partition(":")[2].strip() for line in lines if line.startswith(f"{name}:"))


def widen(receiver: socket.socket) -> None:
    """Give it a large receive buffer: in a user namespace, one of net.core.rmem_max."""
    try:
        receiver.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 28)
    except PermissionError:
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 28)


class Receiver(socket.socket):
    """A UDP socket that receives from its own sender, and loses nothing for want of room."""

    def __init__(self, address: str = "127.0.0.1") -> None:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        super().__init__(family, socket.SOCK_DGRAM)
        widen(self)
        self.bind((address, 0))
        self.settimeout(20)
        self.sender = socket.socket(family, socket.SOCK_DGRAM)
        self.sender.connect(self.getsockname())

    def numbers(self, count: int) -> list[int]:
        """The next datagrams, as the numbers at their beginnings."""
        return [int.from_bytes(self.recv(65536)[:4]) for _ in range(count)]

    def need_room(self, count: int, size: int = 4) -> None:
        """Skip the test unless its buffer holds this many datagrams of this many bytes."""
        if count * (size + OVERHEAD) > self.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF):
            pytest.skip("needs real root: a receive buffer larger than net.core.rmem_max")

    def send_numbers(self, count: int, payload: bytes = b"") -> None:
        self.need_room(count, 4 + len(payload))
        for number in range(count):
            self.sender.send(number.to_bytes(4) + payload)

    def rest(self) -> list[int]:
        """All that has come."""
        self.setblocking(False)
        found = []
        try:
            while True:
                found.append(int.from_bytes(self.recv(65536)[:4]))
        except BlockingIOError:
            self.settimeout(20)
        return found

    def close(self) -> None:
        self.sender.close()
        super().close()


def nothing_is_left(rule_set: Callable[[], list[str]]) -> bool:
    """Whether no queue is bound and no rule of shaper's is there."""
    return not bound() and not [line for line in rule_set() if "shaper" in line]
