"""Real-time priority, so that other load on the machine doesn't show up as waits."""

from __future__ import annotations

import os
from contextlib import suppress


def set_realtime() -> None:
    """Run before all ordinary tasks, where this process may (root; sched(7)); its children don't inherit it.

    On a busy machine a wakeup is otherwise late by several ms, at every one of a chain's steps.
    """
    with suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(1))
