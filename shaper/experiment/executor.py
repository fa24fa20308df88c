"""Executor: runs the trials of a plan on this machine, one after the other or several at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from multiprocessing.connection import wait

from shaper.experiment.lab import Lab
from shaper.experiment.trial import Outcome, Trial

Executor = Callable[[Iterator[Trial]], Iterator[tuple[Trial, Outcome]]]
"""What runs the trials of a plan: `execute`, or `execute_on_dask` with an address. No plan knows which it is."""


def execute(plan: Iterator[Trial], *, at_once: int = 1, mtu: int = 1500) -> Iterator[tuple[Trial, Outcome]]:
    """Run the trials of a plan, and give each with its outcome, in the order in which they end.

    The plan is asked for the next trial only when one has been given back, so it can take that into account.

    Args:
        at_once: how many run at the same time. More than one makes all of them slower, and less punctual.
        mtu: of lo, in bytes.

    Raises:
        ShaperError: see `Lab.run`.
    """
    with ExitStack() as opened:
        labs = [opened.enter_context(Lab(mtu=mtu)) for _ in range(at_once)]
        running: dict[int, tuple[Lab, Trial]] = {}
        free = list(reversed(labs))
        while True:
            while free and (trial := next(plan, None)) is not None:
                lab = free.pop()
                lab.start(trial)
                running[lab.fileno()] = lab, trial
            if not running:
                return
            for ready in wait(list(running)):
                assert isinstance(ready, int)
                lab, trial = running.pop(ready)
                outcome = lab.result()
                free.append(lab)
                yield trial, outcome
