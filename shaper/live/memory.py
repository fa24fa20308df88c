"""How much memory policies may gather: beyond it they fail, and not the machine.

A hook that asks for too much at once gets a MemoryError from the kernel's limit. What is gathered little by
little must be seen sooner, for at that limit it would be as likely the engine that gets nothing any more.
"""

from __future__ import annotations

import os
import resource

GATHERED = 768 << 20
"""Bytes that may be gathered little by little."""
AT_ONCE = 1 << 30
"""Bytes that this process may get at all, beyond what it has when it begins."""


class MemoryLimit:
    """From now on this process has so much memory and no more, for good."""

    def __init__(self) -> None:
        # Open before the process may no longer do so.
        self._statm = os.open("/proc/self/statm", os.O_RDONLY)
        self._page = resource.getpagesize()
        self._begun = self._data()
        most = self._begun + AT_ONCE
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))

    def _data(self) -> int:
        """Bytes of data and stack, see statm in proc(5)."""
        return int(os.pread(self._statm, 200, 0).split()[5]) * self._page

    def is_used_up(self) -> bool:
        """Whether it is time to let the policies go."""
        return self._data() - self._begun > GATHERED

    def close(self) -> None:
        os.close(self._statm)
