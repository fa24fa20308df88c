"""What the trials of a plan run, and what is measured in each of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from re import Pattern
from typing import Any

from shaper.experiment.measures import measures
from shaper.experiment.results import Level, Result, result_of
from shaper.experiment.trial import Outcome, Trial
from shaper.units import s


@dataclass(kw_only=True)
class Subject:
    """What is run again and again; a plan says under which conditions.

    Attributes:
        command, server, workload: see `Trial`.
        policies: the SPECs that stay, which come before those of a condition.
        seed: decides the order of the trials, and with their numbers the chance in each of them.
        timeout: of a trial, in ns.
        patterns: see `measures`.
        files: that the command writes, with numbers in JSON.
    """

    command: tuple[str, ...] = ()
    workload: str = ""
    server: tuple[str, ...] = ()
    policies: tuple[str, ...] = ()
    seed: str = "0"
    timeout: int = 30 * s
    patterns: tuple[Pattern[str], ...] = ()
    files: tuple[str, ...] = ()

    def about(self) -> dict[str, Any]:
        """What the results say of it. Two plans with the same answer may share a file."""
        return {
            "command": list(self.command),
            "workload": self.workload,
            "server": list(self.server),
            "policies": list(self.policies),
        }

    def trial(self, policies: Sequence[str], number: int, workload: str = "") -> Trial:
        """A trial.

        Args:
            policies: those of its condition.
            number: of the repetition; it decides the chance.
            workload: instead of the subject's.
        """
        return Trial(
            self.command,
            (*self.policies, *policies),
            f"{self.seed}.{number}",
            number,
            self.timeout,
            workload or self.workload,
            self.server,
            files=self.files,
        )

    def result(self, trial: Trial, outcome: Outcome, levels: Mapping[str, Level], block: int) -> Result:
        """The result of a trial that has just ended."""
        return result_of(trial, outcome, levels, block, measures(outcome, self.patterns))
