"""Programs inside a network: how a process that was just forked gets there, and who is there."""

from __future__ import annotations

import os
from collections.abc import Iterator

from shaper.linux.libc import CLONE_NEWNET, CLONE_NEWUSER, setns
from shaper.linux.namespace import Private
from shaper.network.observer import processes


class Entrance:
    """The way into a network.

    Args:
        namespaces: descriptors of its user namespace, if it has one, and of its network namespace.
        keeper: the process that shapes it.
    """

    def __init__(self, namespaces: tuple[int, ...], keeper: int) -> None:
        self._namespaces, self._keeper = namespaces, keeper
        self._caller = Private(os.geteuid(), os.getegid(), mapped=len(namespaces) > 1)

    def enter(self) -> None:
        """Move this process inside; it must have one thread only, as one that was just forked has.

        Raises:
            OSError: see setns(2).
        """
        *user, network = self._namespaces
        for descriptor in user:
            setns(descriptor, CLONE_NEWUSER)
        setns(network, CLONE_NEWNET)
        self._caller.become_caller()

    def processes(self, known: set[int] | None = None) -> Iterator[int]:
        """The processes that are inside, but for the one that shapes.

        Args:
            known: see `shaper.network.observer.processes`.
        """
        return processes(os.fstat(self._namespaces[-1]).st_ino, self._keeper, set() if known is None else known)
