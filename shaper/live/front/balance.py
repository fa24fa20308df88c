"""How many workers `--workers auto` starts. `./dev bench balance` has the simulation that this was chosen by."""

from __future__ import annotations

MOST = 64
"""The most workers that `--workers` takes."""


def workers_for(cpus: int) -> int:
    """Two thirds of the CPUs that this process may use, one at least, `MOST` at most.

    A packet costs its engine about twice the CPU time that it costs everything else: its sender, its receiver, and the
    kernel up to the queue.
    """
    return min(max(1, 2 * cpus // 3), MOST)
