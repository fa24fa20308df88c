"""One trial, in a process that was forked for it: a new network, the engine, and the command or the workload."""

from __future__ import annotations

import os
import shlex
import signal
import time
from collections.abc import Awaitable, Callable
from contextlib import nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

import trio

from shaper.errors import ShaperError
from shaper.experiment import netem
from shaper.experiment.mirror import Mirror
from shaper.experiment.trial import Outcome, Trial
from shaper.journal import Record, read_journal
from shaper.linux import proc
from shaper.linux.namespace import Private
from shaper.live.run import Run
from shaper.live.summary import Summary
from shaper.network.listening import ports
from shaper.network.shaped import shape_while
from shaper.policy.base import Policy
from shaper.probe.ends import processes
from shaper.probe.ends.account import Account
from shaper.probe.ends.plan import ProbePlan
from shaper.probe.ends.realtime import set_realtime
from shaper.probe.ends.run import ProbeRun, play_to_end
from shaper.probe.ends.workload import load
from shaper.probe.explain.blockings import blockings
from shaper.spec.load import load_pipeline
from shaper.trace.record.recorder import TraceRecorder
from shaper.units import format_duration, ms, s

POLLING = 5 * ms
"""Between two looks whether a server listens."""
READ = 1 << 20
"""The first bytes of a file that the command wrote that are read."""
KEPT = 1 << 16
"""The last bytes of the command's output that are kept."""


def play(trial: Trial, private: Private, mtu: int) -> Outcome:
    """Play this trial to its end, in a new network that this process moves to.

    Processes that the command leaves behind go on; whoever called ends them.

    Args:
        private: the namespaces that this process is in.
        mtu: of lo, in bytes.

    Raises:
        ShaperError: see `Lab.run`.
        TraceError: it can't be traced here.
    """
    set_realtime()
    private.renew(mtu)
    stand_in = netem.set_up(trial.netem) if trial.netem else None
    if stand_in is not None:
        trial = replace(trial, policies=(*trial.policies, stand_in.policy), shaped=True)
    mirror = None
    if trial.netem and stand_in is None:
        with suppress(OSError):  # then nobody sees the packets
            mirror = Mirror()
    policies = load_pipeline(trial.policies)
    before = {name: _version(name) for name in trial.files}
    with TemporaryFile() as stdout, TemporaryFile() as stderr:
        # The command inherits these, so that what it writes takes no time of this process.
        os.dup2(stdout.fileno(), 1)
        os.dup2(stderr.fileno(), 2)
        outcome = _play_workload(trial, policies, mirror) if trial.workload else _play_command(trial, policies, private)
        files = {name: _first(name) for name in trial.files if _version(name) not in (None, before[name])}
        return replace(outcome, stdout=_last(stdout), stderr=_last(stderr), stand_in=stand_in, files=files)


def _play_command(trial: Trial, policies: tuple[Policy, ...], private: Private) -> Outcome:
    server = private.spawn_inside(list(trial.server), stdout=2) if trial.server else None
    command = private.spawn_inside(list(trial.command))
    status: int | None = None
    duration = 0

    async def run(_: Run) -> None:
        nonlocal status, duration
        if server is not None:
            server.release()
            await _listening(server.pid, trial)
        ended = os.pidfd_open(command.pid)
        start = time.monotonic_ns()
        command.release()
        with trio.move_on_after(trial.timeout / s):
            await trio.lowlevel.wait_readable(ended)
            status = os.waitstatus_to_exitcode(os.waitpid(command.pid, 0)[1])
        duration = time.monotonic_ns() - start
        if status is None:
            os.kill(command.pid, signal.SIGKILL)

    pids = [each.pid for each in (command, server) if each is not None]
    with TraceRecorder(Path(trial.trace), pids) if trial.trace else nullcontext():
        summary, records = _shape(trial, policies, run)
    return Outcome(status, duration, b"", b"", summary.to_json(), records, pid=command.pid)


async def _listening(server: int, trial: Trial) -> None:
    """Wait until some process in this network can be reached: it listens, or its UDP socket has a port.

    Raises:
        ShaperError: the server has ended, or the time of the trial is over.
    """
    with trio.move_on_after(trial.timeout / s):
        while not proc.stat(server).has_ended:
            if ports("tcp") or ports("udp"):
                return
            await trio.sleep(POLLING / s)
        raise ShaperError(f"the server ended before anyone could reach it: {shlex.join(trial.server)}")
    raise ShaperError(
        f"the server listens to nothing after {format_duration(trial.timeout)}: {shlex.join(trial.server)}"
    )


def _play_workload(trial: Trial, policies: tuple[Policy, ...], mirror: Mirror | None) -> Outcome:
    load(trial.workload)
    ends = processes.fork(ProbePlan(trial.workload, timeout=trial.timeout))
    accounts: list[Account] = []

    async def run(run: Run) -> None:
        accounts.extend(await play_to_end(ends, run.core))

    summary, records = _shape(trial, policies, run)
    if mirror is not None:
        records = mirror.records()
    played = ProbeRun(tuple(accounts), records)
    last = max((call.end for call in played.calls("client")), default=played.began)
    why = [f"{account.role}: {account.why}\n" for account in accounts if account.why]
    os.write(2, "".join(why).encode())
    return Outcome(
        int(bool(why)),
        last - played.began,
        b"",
        b"",
        summary.to_json(),
        records,
        tuple(blockings(played, threshold=0)),
        played=played,
    )


def _shape(
    trial: Trial, policies: tuple[Policy, ...], run: Callable[[Run], Awaitable[None]]
) -> tuple[Summary, tuple[Record, ...]]:
    """Shape while something runs; returns what happened to the packets."""
    journal = Path(f"/proc/self/fd/{os.memfd_create('journal')}")
    summary = shape_while(
        run,
        policies=policies,
        specs=trial.policies,
        seed=trial.seed,
        journal=journal,
        scenario=trial.scenario,
        shaped=trial.shaped,
    )
    _, records = read_journal(journal)
    return summary, tuple(records)


def _version(name: str) -> tuple[int, int] | None:
    """Differs between a file that an earlier trial wrote and one of this trial; None if there is none."""
    try:
        about = os.stat(name)
    except OSError:
        return None
    return about.st_ino, about.st_mtime_ns


def _first(name: str) -> bytes:
    with open(name, "rb") as file:
        return file.read(READ)


def _last(file: IO[bytes]) -> bytes:
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - KEPT))
    return file.read()
