"""What /proc says of the traced processes while they run: who they are, and their open files.

Raw system call events have numbers only. A call that blocks for long keeps its file
descriptor open for long, so looking now and then finds what it means.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from shaper.wire.flow import format_end

SOCKET = re.compile(r"socket:\[(\d+)\]")
TABLES = ("tcp", "tcp6", "udp", "udp6")

Entry = dict[str, Any]


class Snapshots:
    """Looks at some processes and all their descendants, again and again.

    Args:
        pids: of these processes.
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
        parent = _parent(process)
        for path in Path(f"/proc/{process}/task").iterdir():
            tid, comm = int(path.name), (path / "comm").read_text().rstrip("\n")
            if self._tasks.get(tid) != (process, comm):
                self._tasks[tid] = process, comm
                yield {"at": now, "event": "task", "pid": tid, "of": process, "comm": comm, "parent": parent}

    def _files_of(self, process: int, now: int) -> Iterator[Entry]:
        sockets: dict[str, str] | None = None
        for path in Path(f"/proc/{process}/fd").iterdir():
            with suppress(FileNotFoundError):
                key, link = (process, int(path.name)), str(path.readlink())
                name = self._files.get(key, "")
                inode = SOCKET.fullmatch(link)
                if inode is not None:
                    # A socket gets its ends later.
                    if link == self._links.get(key) and ">" in name:
                        continue
                    if sockets is None:
                        sockets = socket_ends(process)
                    link_name = sockets.get(inode[1], link)
                else:
                    link_name = link
                if link_name != name:
                    self._files[key], self._links[key] = link_name, link
                    yield {"at": now, "event": "file", "pid": process, "fd": key[1], "file": link_name}


def descendants(pids: Iterable[int]) -> Iterator[int]:
    """These processes and all that they started and that still run."""
    waiting = list(pids)
    while waiting:
        process = waiting.pop()
        yield process
        with suppress(OSError):
            for path in Path(f"/proc/{process}/task").iterdir():
                waiting += [int(child) for child in (path / "children").read_text().split()]


def threads(pids: Iterable[int]) -> list[int]:
    """All threads of these processes and of their descendants."""
    found = []
    for process in descendants(pids):
        with suppress(OSError):
            found += [int(path.name) for path in Path(f"/proc/{process}/task").iterdir()]
    return found


def socket_ends(process: int) -> dict[str, str]:
    """The sockets of the process's network namespace: inode -> "tcp 127.0.0.1:40000 > 127.0.0.1:80"."""
    ends = {}
    for table in TABLES:
        with suppress(OSError):
            for line in Path(f"/proc/{process}/net/{table}").read_text().splitlines()[1:]:
                fields = line.split()
                local, remote = _end(fields[1]), _end(fields[2])
                peer = f" > {format_end(*remote)}" if remote[1] else ""
                ends[fields[9]] = f"{table.rstrip('6')} {format_end(*local)}{peer}"
    return ends


def _end(text: str) -> tuple[str, int]:
    """Address and port in "0100007F:1F90": words of the machine's own byte order, here little-endian."""
    raw, _, port = text.partition(":")
    words = [bytes.fromhex(raw[index : index + 8])[::-1] for index in range(0, len(raw), 8)]
    address = ip_address(b"".join(words))
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address), int(port, 16)


def _parent(process: int) -> int:
    # After the name, which may hold anything, in brackets: state, parent.
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
