"""Experiments: a program is run under many conditions of the network, and what that does to it is measured."""

from shaper.experiment.cluster import execute_on_dask
from shaper.experiment.executor import Executor, execute
from shaper.experiment.factors import parse as parse_factor
from shaper.experiment.lab import Lab
from shaper.experiment.results import Results
from shaper.experiment.results import read as read_results
from shaper.experiment.run import run
from shaper.experiment.sweep import Sweep, SweepReport
from shaper.experiment.trial import Outcome, Trial

__all__ = [
    "Executor",
    "Lab",
    "Outcome",
    "Results",
    "Sweep",
    "SweepReport",
    "Trial",
    "execute",
    "execute_on_dask",
    "parse_factor",
    "read_results",
    "run",
]
