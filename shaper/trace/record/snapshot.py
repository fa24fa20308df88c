"""What /proc says of the traced processes while they run: their names, threads and open files.

The raw events of system calls have numbers only. A call that blocks for long keeps its
file descriptor open for long, so looking now and then finds what the number stands for.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from shaper.linux import proc
from shaper.linux.sockets import Table, sockets
from shaper.wire.flow import format_end

SOCKET = re.compile(r"socket:\[(\d+)\]")
TABLES: tuple[Table, ...] = ("tcp", "tcp6", "udp", "udp6")

Entry = dict[str, Any]


class Snapshots:
    """Looks at some processes and all their descendants, again and again.

    Args:
        pids: of the processes.
    """

    def __init__(self, pids: Iterable[int]) -> None:
        self._pids = tuple(pids)
        self._tasks: dict[int, tuple[int, str]] = {}
        self._files: dict[tuple[int, int], str] = {}
        self._links: dict[tuple[int, int], str] = {}

    def look(self) -> list[Entry]:
        """What is new since the last look, as events of the model."""
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        entries: list[Entry] = []
        for process in descendants(self._pids):
            with suppress(OSError):
                entries += self._tasks_of(process, now)
                entries += self._files_of(process, now)
        return entries

    def _tasks_of(self, process: int, now: int) -> Iterator[Entry]:
        parent = proc.stat(process).parent
        for tid in proc.threads(process):
            comm = proc.comm(process, tid)
            if self._tasks.get(tid) != (process, comm):
                self._tasks[tid] = process, comm
                yield {"at": now, "event": "task", "pid": tid, "of": process, "comm": comm, "parent": parent}

    def _files_of(self, process: int, now: int) -> Iterator[Entry]:
        ends: dict[int, str] | None = None
        for path in Path(f"/proc/{process}/fd").iterdir():
            with suppress(FileNotFoundError):
                key, link = (process, int(path.name)), os.fsencode(path.readlink()).decode(errors="replace")
                name = self._files.get(key, "")
                inode = SOCKET.fullmatch(link)
                if inode is not None:
                    # A socket gets its ends after it is made.
                    if link == self._links.get(key) and ">" in name:
                        continue
                    if ends is None:
                        ends = socket_ends(process)
                    link_name = ends.get(int(inode[1]), link)
                else:
                    link_name = link
                if link_name != name:
                    self._files[key], self._links[key] = link_name, link
                    yield {"at": now, "event": "file", "pid": process, "fd": key[1], "file": link_name}


def descendants(pids: Iterable[int]) -> Iterator[int]:
    """These processes and all their descendants that still run."""
    waiting = list(pids)
    while waiting:
        process = waiting.pop()
        yield process
        with suppress(OSError):
            waiting += proc.children(process)


def threads(pids: Iterable[int]) -> list[int]:
    """All threads of these processes and of their descendants."""
    found: list[int] = []
    for process in descendants(pids):
        with suppress(OSError):
            found += proc.threads(process)
    return found


def socket_ends(process: int) -> dict[int, str]:
    """The ends of each socket in the process's network namespace: inode -> "tcp 127.0.0.1:40000 > 127.0.0.1:80"."""
    ends = {}
    for table in TABLES:
        with suppress(OSError):
            for local, local_port, remote, remote_port, _, inode in sockets(table, process):
                peer = f" > {format_end(str(remote), remote_port)}" if remote_port else ""
                ends[inode] = f"{table.rstrip('6')} {format_end(str(local), local_port)}{peer}"
    return ends
