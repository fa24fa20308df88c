"""A control group: the packets of the processes in it, see cgroups(7)."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from shaper.errors import ShaperError, UsageError
from shaper.places.place import OWN, Found


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
