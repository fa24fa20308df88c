"""The probe's report: the blockings, milestones and statistics of a workload's runs. How it is shown: see `show`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from shaper.probe.ends.run import ProbeRun
from shaper.probe.explain.blockings import THRESHOLD, blockings
from shaper.probe.explain.milestones import Milestones, middle, milestones
from shaper.report.blocking import Blocking
from shaper.report.statistic import Statistic


@dataclass
class ProbeReport:
    """What was measured in the runs of one workload under one pipeline.

    Attributes:
        workload: its name and options.
        policies: SPECs; none if nothing was shaped.
        threshold: a call that takes less than this (ns) has not waited.
        blockings: those of each run.
        reached: the milestones of each run.
    """

    workload: str
    policies: tuple[str, ...]
    runs: Sequence[ProbeRun]
    threshold: int = THRESHOLD

    def __post_init__(self) -> None:
        self.blockings = [blockings(run, self.threshold) for run in self.runs]
        self.reached = [milestones(run) for run in self.runs]

    @property
    def milestones(self) -> Milestones:
        """The median of each milestone."""
        return middle(self.reached)

    @property
    def typical(self) -> int:
        """The number, from 0, of the run to show: the one whose client took the median time."""
        order = sorted(range(len(self.runs)), key=lambda index: self.reached[index].closed or 0)
        return order[(len(order) - 1) // 2]

    def by_syscall(self) -> dict[str, dict[str, Statistic]]:
        """Statistics of each role's blockings in all runs, by system call."""
        return self._statistics(lambda blocking: blocking.syscall)

    def by_fd(self) -> dict[str, dict[str, Statistic]]:
        """The same by file descriptor."""
        return self._statistics(lambda blocking: str(blocking.fd))

    def _statistics(self, key: Callable[[Blocking], str]) -> dict[str, dict[str, Statistic]]:
        found: dict[str, dict[str, Statistic]] = {}
        for blocking in (blocking for each in self.blockings for blocking in each):
            found.setdefault(blocking.role, {}).setdefault(key(blocking), Statistic()).add(blocking.duration)
        return found

    def failures(self) -> Iterator[str]:
        """What went wrong, a line for each end and run."""
        for number, run in enumerate(self.runs, 1):
            for account in run.accounts:
                if account.why is not None:
                    yield f"run {number}: {account.role}: {account.why}"
