"""The memory of an engine: it stays where it is, and policies may not take too much of it.

Beyond a limit they fail, and not the machine.

A hook that asks for too much at once gets a MemoryError, by the kernel's limit. Memory taken little by little must be
noticed sooner: at the kernel's limit it could as well be the engine that gets no more.
"""

from __future__ import annotations

import os
import resource
from contextlib import suppress

from shaper.linux.libc import MCL_CURRENT, MCL_ONFAULT, mlockall

GRADUAL_LIMIT = 768 << 20
"""Bytes that may be taken little by little."""
HARD_LIMIT = 1 << 30
"""Bytes that the kernel gives this process at most, beyond what it has at the start."""


def keep_pages() -> None:
    """Keep the pages in memory that this process has by now; without effect where that isn't permitted.

    When memory is short, the kernel takes away what was not used lately, such as the engine's code while no packets
    come. To read a page from a disk takes it a millisecond, in which packets wait. Not what comes later, for the limit
    on locked memory holds for that, once the process has given its privileges up.
    """
    with suppress(OSError):
        mlockall(MCL_CURRENT | MCL_ONFAULT)


class MemoryLimit:
    """Limits this process's memory from now on, for good."""

    def __init__(self) -> None:
        # Opened now, since later the process may not be allowed to.
        self._statm = os.open("/proc/self/statm", os.O_RDONLY)
        self._page = resource.getpagesize()
        self._begun = self._data()
        most = self._begun + HARD_LIMIT
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))

    def _data(self) -> int:
        """Bytes of data and stack, see statm in proc(5)."""
        return int(os.pread(self._statm, 200, 0).split()[5]) * self._page

    def is_used_up(self) -> bool:
        """Whether the policies have taken more than they may."""
        return self._data() - self._begun > GRADUAL_LIMIT

    def close(self) -> None:
        """Stop measuring; the kernel's limit stays."""
        os.close(self._statm)
