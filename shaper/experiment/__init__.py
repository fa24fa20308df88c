"""Experiments: a program is run under many conditions of the network, and what that does to it is measured."""

from shaper.experiment.executor import execute
from shaper.experiment.lab import Lab
from shaper.experiment.trial import Outcome, Trial

__all__ = ["Lab", "Outcome", "Trial", "execute"]
