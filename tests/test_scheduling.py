"""When the engine's thread runs, and when Python itself pauses."""

import gc
import os
from pathlib import Path

import pytest

from shaper.linux.scheduling import SLICE, scheduled
from shaper.live.pauses import OFTEN, SELDOM, few_pauses


def slice_now() -> int | None:
    """This thread's slice in ns; None if the kernel doesn't say."""
    lines = Path("/proc/thread-self/sched").read_text().splitlines()
    return next((int(line.split(":")[1]) for line in lines if line.startswith("se.slice ")), None)


def test_the_engine_has_short_slices() -> None:
    before, nice = slice_now(), os.getpriority(os.PRIO_PROCESS, 0)
    if before is None or tuple(map(int, os.uname().release.split("-")[0].split(".")[:2])) < (6, 12):
        pytest.skip("needs Linux 6.12 with CONFIG_SCHED_DEBUG: slices of one's own")
    with scheduled(cpu=None, realtime=False):
        assert slice_now() == SLICE
        assert os.getpriority(os.PRIO_PROCESS, 0) == nice
    assert slice_now() == before


class Node:
    """Refers to itself."""

    def __init__(self) -> None:
        self.self = self


def test_garbage_is_looked_for_as_often_as_it_is_found() -> None:
    thresholds = gc.get_threshold()
    with few_pauses():
        assert gc.get_threshold()[0] == OFTEN
        gc.collect()
        gc.collect(0)
        assert gc.get_threshold()[0] == SELDOM
        for _ in range(1000):
            Node()
        gc.collect(0)
        assert gc.get_threshold()[0] == OFTEN
    assert gc.get_threshold() == thresholds
