"""What /proc says of processes, see proc(5).

Names are a process's own choice, and the kernel cuts them at 15 bytes, in the middle of a character too: so files are
read as bytes, and what isn't UTF-8 in a name becomes U+FFFD.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import NamedTuple

PROC_PID_INIT_INO = 0xEFFF_FFFC  # include/linux/proc_ns.h
"""The inode of the first PID namespace."""


class Stat(NamedTuple):
    """Some fields of /proc/PID/stat.

    Attributes:
        comm: the command's name.
        state: one letter; T for stopped, Z and X for ended.
        parent: the parent's number.
        start: when the process started, in clock ticks since boot.
    """

    comm: str
    state: str
    parent: int
    start: int

    @property
    def has_ended(self) -> bool:
        """Only a zombie is left, or not even that."""
        return self.state in "ZX"


class SchedStat(NamedTuple):
    """How long a process's main thread ran, and waited for a CPU, in ns."""

    ran: int
    waited: int


def pid_namespace() -> int:
    """The inode of this process's PID namespace."""
    return os.stat("/proc/self/ns/pid").st_ino


def in_pid_namespace() -> bool:
    """Whether tasks have other numbers here, as in a container, than the kernel gives them in its traces."""
    return pid_namespace() != PROC_PID_INIT_INO


def is_own() -> bool:
    """Whether /proc shows the numbers of this process's PID namespace, and not those of one around it."""
    return os.readlink("/proc/self") == str(os.getpid())


def tasks() -> list[int]:
    """The numbers of all threads that are seen here."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdecimal():
            with suppress(OSError):  # it has ended meanwhile
                found += threads(int(name))
    return found


def stat(pid: int) -> Stat:
    """A process's state and descent.

    Raises:
        OSError: there is no such process.
    """
    # The name, in brackets, may itself contain spaces, brackets and line feeds.
    head, _, tail = _read(f"/proc/{pid}/stat").rpartition(b")")
    fields = tail.split()
    return Stat(_text(head.partition(b"(")[2]), fields[0].decode(), int(fields[1]), int(fields[19]))


def schedstat(pid: int) -> SchedStat:
    """See Documentation/scheduler/sched-stats.rst of the kernel.

    Raises:
        OSError: there is no such process, or the kernel keeps no such figures.
    """
    ran, waited, _ = _read(f"/proc/{pid}/schedstat").split()
    return SchedStat(int(ran), int(waited))


def status(name: str, pid: int | str = "self") -> str:
    """A field of /proc/PID/status.

    Raises:
        OSError: there is no such process.
        KeyError: there is no such field.
    """
    for line in _read(f"/proc/{pid}/status").splitlines():
        key, _, value = line.partition(b":")
        if key == name.encode():
            return _text(value.strip())
    raise KeyError(name)


def comm(pid: int, tid: int) -> str:
    """The name of a process's thread.

    Raises:
        OSError: there is no such thread.
    """
    return _text(_read(f"/proc/{pid}/task/{tid}/comm").removesuffix(b"\n"))


def threads(pid: int | str = "self") -> list[int]:
    """The numbers of a process's threads.

    Raises:
        OSError: there is no such process.
    """
    return [int(name) for name in os.listdir(f"/proc/{pid}/task")]


def children(pid: int) -> list[int]:
    """The numbers of the processes that a process's threads have started and that still run.

    Raises:
        OSError: there is no such process.
    """
    found = []
    for tid in threads(pid):
        with suppress(FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
            found += [int(child) for child in _read(f"/proc/{pid}/task/{tid}/children").split()]
    return found


def _read(path: str) -> bytes:
    with open(path, "rb", buffering=0) as file:
        return file.read()


def _text(name: bytes) -> str:
    return name.decode(errors="replace")


def machine() -> str:
    """The kernel and what it runs on, in words: "Linux 6.1.0-57-amd64, in a virtual machine"."""
    # The bit of CPUID that hypervisors set for their guests.
    flags: list[bytes] = []
    with suppress(OSError), open("/proc/cpuinfo", "rb") as file:
        flags = next((line.split() for line in file if line.startswith(b"flags")), [])
    return f"Linux {os.uname().release}{', in a virtual machine' if b'hypervisor' in flags else ''}"
