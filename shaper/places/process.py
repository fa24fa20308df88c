"""The network namespace of a process."""

from __future__ import annotations

from pathlib import Path

from shaper.errors import ShaperError, UsageError
from shaper.linux import proc
from shaper.linux.capabilities import CAP_SYS_PTRACE, remedy
from shaper.linux.netns import no_namespace
from shaper.places.place import OWN, Found


class Process:
    """Fulfils `Place`.

    Args:
        pid: the process.
        is_own_allowed: it may be in shaper's own network namespace.
    """

    ends = True

    def __init__(self, pid: int, *, is_own_allowed: bool = False) -> None:
        self.name, self.label = f"process {pid}", str(pid)
        self._pid, self._is_own_allowed = pid, is_own_allowed

    def find(self) -> Found | None:
        """See `Place`."""
        found = Found.at(Path(f"/proc/{self._pid}/ns/net"))
        if found is None:
            if self._is_own_allowed:
                raise no_namespace(self.label)
            if Path(f"/proc/{self._pid}").exists():
                raise ShaperError(
                    f"the network namespace of process {self._pid} can't be seen; {remedy(CAP_SYS_PTRACE)}"
                )
            where = "; a container sees those outside with `--pid host`" if proc.in_pid_namespace() else ""
            raise UsageError(f"there is no process {self._pid}{where}")
        if not self._is_own_allowed and found.inode == OWN.stat().st_ino:
            raise UsageError(
                f"process {self._pid} has no network namespace of its own; use --cgroup with its control group, "
                f"see /proc/{self._pid}/cgroup, or --port"
            )
        return found
