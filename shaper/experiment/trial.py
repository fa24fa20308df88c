"""Trial and Outcome: what is run under which condition, and what came of it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from shaper.experiment.netem import StandIn
from shaper.journal import Record
from shaper.probe.ends.run import ProbeRun
from shaper.report.blocking import Blocking
from shaper.spec.scenario import Scenario
from shaper.units import s


@dataclass(frozen=True)
class Trial:
    """One run of a command, or of a workload of the probe, under one condition."""

    command: tuple[str, ...] = ()
    """What is run; empty if it is a workload."""
    policies: tuple[str, ...] = ()
    """The SPECs of the pipeline."""
    seed: str = "0"
    """Decides all chance."""
    number: int = 0
    """Which repetition this is."""
    timeout: int = 30 * s
    """The longest that it may take, in ns."""
    workload: str = ""
    """The name and options of a workload of the probe, which is played instead of a command."""
    server: tuple[str, ...] = ()
    """A command that is started before; the other one follows when something listens, and only that one is timed."""
    scenario: Scenario | None = None
    """Phases that follow the policies, which are those of the first one."""
    netem: str = ""
    """Arguments of the kernel's netem. A policy stands in for it where there is none."""
    shaped: bool = True
    """Without, packets pass by shaper, and there is no journal."""
    trace: str = ""
    """An empty folder in which the kernel's tracer records the command and its server, which needs root; none if it
    doesn't."""
    files: tuple[str, ...] = ()
    """Files that the command writes, for the outcome."""

    @property
    def key(self) -> str:
        """Names the trial by its content: the same content gives the same key, on any machine."""
        content = json.dumps(asdict(self), sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Outcome:
    """What came of a trial."""

    status: int | None
    """The command's exit status; -N if signal N ended it; None if it did not end in time."""
    duration: int
    """Of the command alone, in ns."""
    stdout: bytes
    """The last 64 kB of its output."""
    stderr: bytes
    """The last 64 kB of its errors, and of all that its server says."""
    summary: Mapping[str, Any]
    """The counts of the packets, as in the document of `shaper run --json`."""
    records: tuple[Record, ...]
    """What happened to each packet, in the order in which they went on."""
    blockings: tuple[Blocking, ...] = ()
    """The calls of a workload's two ends, and how long each took; none for a command."""
    files: Mapping[str, bytes] = field(default_factory=dict)
    """Of the files named in the trial those that were written in it, each with its first MB."""
    host: str = field(default_factory=lambda: os.uname().nodename)
    """The name of the machine that ran it."""
    kernel: str = field(default_factory=lambda: os.uname().release)
    """The release of its kernel."""
    played: ProbeRun | None = None
    """The workload's two ends, call by call; None for a command."""
    pid: int = 0
    """The command's process, as its trace names it; 0 for a workload."""
    stand_in: StandIn | None = None
    """What stood in for netem."""

    @property
    def timed_out(self) -> bool:
        """It was ended because its time was over."""
        return self.status is None

    @property
    def failed(self) -> bool:
        """It did not end in time, or not with status 0."""
        return self.status != 0
