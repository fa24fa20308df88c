"""How many CPUs this process may use, and lists of CPUs as the kernel writes them.

Where a folder `root` is an argument, files of /sys and /proc are read below it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from math import ceil
from pathlib import Path

from shaper.units import parse_range

ROOT = Path("/")


def parse(text: str) -> list[int]:
    """The CPUs of a list such as "0-2,5"; see cpuset(7), "List format"."""
    ranges = [parse_range(part) for part in text.strip().split(",") if part]
    return [cpu for first, last in ranges for cpu in range(first, last + 1)]


def listed(cpus: Iterable[int]) -> str:
    """Such a list of these CPUs."""
    ranges: list[tuple[int, int]] = []
    for cpu in sorted(cpus):
        if ranges and cpu == ranges[-1][1] + 1:
            ranges[-1] = ranges[-1][0], cpu
        else:
            ranges.append((cpu, cpu))
    return ",".join(f"{first}-{last}" if last > first else f"{first}" for first, last in ranges)


def quota(root: Path = ROOT) -> float | None:
    """How many CPUs' time this process's control group, or one around it, allows; None if there is no limit.

    Read from `cpu.max` of cgroup2, see Documentation/admin-guide/cgroup-v2.rst of the kernel.
    """
    found: list[float] = []
    with suppress(OSError):
        lines = (root / "proc/self/cgroup").read_text().splitlines()
        path = next((line[3:] for line in lines if line.startswith("0::")), "/")
        folder = root / "sys/fs/cgroup" / path.lstrip("/")
        for each in (folder, *folder.parents[: len(Path(path).parts) - 1]):
            with suppress(OSError):  # the first control group of all has no such file
                most, period = (each / "cpu.max").read_text().split()
                if most != "max":
                    found.append(int(most) / int(period))
    return min(found, default=None)


def usable() -> int:
    """How many CPUs this process may keep busy, by its affinity, see sched_setaffinity(2), and by `quota`."""
    most = quota()
    count = len(os.sched_getaffinity(0))
    return count if most is None else min(count, ceil(most))
