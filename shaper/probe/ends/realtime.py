"""Real-time priority, so that other load on the machine doesn't show as waits."""

from __future__ import annotations

import os
from contextlib import suppress


def set_realtime() -> None:
    """Run before all ordinary tasks (sched(7)), if this process may (root). Its children don't inherit this.

    Otherwise each wakeup of a chain is late by several ms on a busy machine.
    """
    with suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(1))
