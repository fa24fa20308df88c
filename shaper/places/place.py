"""A place by its name, and what it is now: a network namespace, perhaps a control group in it."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, Protocol

from shaper.linux.netns import is_namespace

OWN = Path("/proc/self/ns/net")
"""The file of the network namespace in which shaper was started."""


class Found(NamedTuple):
    """What has the place's name now.

    Attributes:
        netns: the file of its network namespace.
        inode: of that namespace.
        cgroup: the folder of the control group whose packets are meant; None for all packets.
        cgroup_inode: of that folder.
    """

    netns: Path
    inode: int
    cgroup: Path | None = None
    cgroup_inode: int = 0

    @classmethod
    def at(cls, netns: Path, cgroup: Path | None = None) -> Found | None:
        """What is there now; None if there is nothing, or only a file that will become a namespace."""
        with suppress(OSError):
            found = netns.stat()
            if is_namespace(found):
                return cls(netns, found.st_ino, cgroup, cgroup.stat().st_ino if cgroup else 0)
        return None

    def is_there(self) -> bool:
        """Whether it is still the same: a namespace or a group that was made anew has another inode."""
        return Found.at(self.netns, self.cgroup) == self


class Place(Protocol):
    """Something with a name whose packets can be shaped, and which may go and come back."""

    name: str
    """In words: "container web"."""
    label: str
    """What its user called it: "web"."""
    ends: bool
    """Once it is gone, it never comes back."""

    def find(self) -> Found | None:
        """What has this name now; None if it isn't running.

        Raises:
            UsageError: there is nothing of this name, or there are several.
        """
