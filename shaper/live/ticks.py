"""Regular times, shared by all that is done again and again."""

from __future__ import annotations

import time

import trio

from shaper.units import s


async def next_tick(interval: int) -> None:
    """Sleep until the next multiple of an interval (ns).

    What is done every second or every quarter of one is so done together: each time that a process wakes from a long
    sleep costs 0.2 ms of CPU time.
    """
    await trio.sleep((interval - time.monotonic_ns() % interval) / s)
