"""A control group: the packets of the processes in it, see cgroups(7)."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

from shaper.errors import ShaperError, UsageError
from shaper.linux.sock_diag import Service, services
from shaper.places.place import OWN, Found

LOCAL_PORTS = Path("/proc/sys/net/ipv4/ip_local_port_range")


class ControlGroup:
    """Fulfils `Place`.

    Args:
        path: its folder, such as /sys/fs/cgroup/system.slice/x.service, or that below where cgroup2 is mounted.
    """

    ends = False

    def __init__(self, path: str) -> None:
        self.name, self.label = f"control group {path}", path
        self._path = folder_of(path)

    def find(self) -> Found | None:
        """See `Place`."""
        found = Found.at(OWN, self._path)
        if found is None:
            raise UsageError(f"there is no control group '{self.label}' in {root()}")
        return found


def folder_of(path: str) -> Path:
    """The folder of a control group.

    Raises:
        ShaperError: cgroup2 is not mounted.
    """
    return root() / path.removeprefix(str(root())).lstrip("/")


@cache
def root() -> Path:
    """Where cgroup2 is mounted, see proc_pid_mounts(5).

    Raises:
        ShaperError: nowhere.
    """
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, folder, kind, *_ = line.split()
        if kind == "cgroup2":
            return Path(folder)
    raise ShaperError("cgroup2 is not mounted here; mount -t cgroup2 none FOLDER")


def path_of(folder: Path) -> str:
    """The path of a control group below where cgroup2 is mounted, as netfilter takes it: "/system.slice/x.service".

    Raises:
        ShaperError: cgroup2 is not mounted.
    """
    return f"/{folder.relative_to(root())}"


def served(path: str) -> tuple[Service, ...]:
    """The ports at which servers in this control group, or in one below it, wait for packets.

    UDP ports that the kernel may have chosen itself don't count: they are clients', and change all the time.
    """
    groups = {os.stat(folder).st_ino for folder, _, _ in os.walk(folder_of(path))}
    first, last = map(int, LOCAL_PORTS.read_text().split())
    return tuple((kind, port) for kind, port in services(groups) if kind == "tcp" or not first <= port <= last)
