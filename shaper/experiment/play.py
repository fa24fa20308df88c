"""One trial, in a process that was forked for it: a new network, the engine, and the command or the workload."""

from __future__ import annotations

import os
import shlex
import signal
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

import trio

from shaper.errors import ShaperError
from shaper.experiment.trial import Outcome, Trial
from shaper.journal import Record, read_journal
from shaper.linux import proc
from shaper.linux.namespace import Private
from shaper.live.nursery import ungrouped
from shaper.live.rules import iptables
from shaper.live.rules.rules import Match, Rules
from shaper.live.session import Run, Settings, shape
from shaper.live.summary import Summary
from shaper.policy.base import Policy
from shaper.probe.ends import processes
from shaper.probe.ends.account import Account
from shaper.probe.ends.plan import ProbePlan
from shaper.probe.ends.realtime import set_realtime
from shaper.probe.ends.run import EPILOGUE, ProbeRun
from shaper.probe.ends.workload import load
from shaper.probe.explain.blockings import blockings
from shaper.spec.load import load_pipeline
from shaper.units import format_duration, ms, s

QUEUE = 0
"""The number of the queue: nobody else is in this network."""
POLLING = 5 * ms
"""Between two looks whether a server listens."""
LISTENS = {"tcp": "0A", "udp": "07"}
"""The states TCP_LISTEN and TCP_CLOSE, as in include/net/tcp_states.h: a UDP socket that isn't connected is closed."""
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
    """
    set_realtime()
    private.renew(mtu)
    policies = load_pipeline(trial.policies)
    with TemporaryFile() as stdout, TemporaryFile() as stderr:
        # The command inherits these, so that what it writes takes no time of this process.
        os.dup2(stdout.fileno(), 1)
        os.dup2(stderr.fileno(), 2)
        outcome = _play_workload(trial, policies) if trial.workload else _play_command(trial, policies, private)
        return replace(outcome, stdout=_last(stdout), stderr=_last(stderr))


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

    summary, records = _shape(trial, policies, run)
    return Outcome(status, duration, b"", b"", summary.to_json(), records)


async def _listening(server: int, trial: Trial) -> None:
    """Wait until some process in this network can be reached: it listens, or its UDP socket has a port.

    Raises:
        ShaperError: the server has ended, or the time of the trial is over.
    """
    with trio.move_on_after(trial.timeout / s):
        while not proc.stat(server).has_ended:
            if any(_has_server(name) for name in ("tcp", "tcp6", "udp", "udp6")):
                return
            await trio.sleep(POLLING / s)
        raise ShaperError(f"the server ended before anyone could reach it: {shlex.join(trial.server)}")
    raise ShaperError(
        f"the server listens to nothing after {format_duration(trial.timeout)}: {shlex.join(trial.server)}"
    )


def _has_server(protocol: str) -> bool:
    """Whether /proc/net has a socket of this protocol that others can reach, see proc_net_tcp.rst of the kernel."""
    path = Path("/proc/self/net", protocol)
    rows = path.read_text().splitlines()[1:] if path.exists() else []
    return any(row.split()[3] == LISTENS[protocol[:3]] for row in rows)


def _play_workload(trial: Trial, policies: tuple[Policy, ...]) -> Outcome:
    load(trial.workload)
    ends = processes.fork(ProbePlan(trial.workload, timeout=trial.timeout))
    accounts: list[Account] = []
    duration = 0

    async def run(run: Run) -> None:
        nonlocal duration
        accounts.extend(await processes.play(ends))
        # The last ACKs belong to the run; the end of shaping would cut their holds short.
        with trio.move_on_after(EPILOGUE / s):
            while run.core.counts.held:
                await trio.sleep(EPILOGUE / s / 100)

    summary, records = _shape(trial, policies, run)
    played = ProbeRun(tuple(accounts), records)
    last = max((call.end for call in played.calls("client")), default=played.began)
    why = [f"{account.role}: {account.why}\n" for account in accounts if account.why]
    os.write(2, "".join(why).encode())
    return Outcome(
        int(bool(why)), last - played.began, b"", b"", summary.to_json(), records, tuple(blockings(played, threshold=0))
    )


def _shape(
    trial: Trial, policies: tuple[Policy, ...], run: Callable[[Run], Awaitable[None]]
) -> tuple[Summary, tuple[Record, ...]]:
    """Shape while something runs; returns what happened to the packets."""
    journal = Path(f"/proc/self/fd/{os.memfd_create('journal')}")
    # No guardian and nobody who restores rules: this network ends with this process.
    settings = Settings(
        policies=policies,
        match=Match("lo"),
        specs=trial.policies,
        queue=QUEUE,
        seed=trial.seed,
        on_error="continue",
        journal=journal,
        one_verdict_per_write=True,
        install_rules=False,
    )
    rules = Rules(settings.match, QUEUE)

    async def main() -> Summary:
        started, stop = trio.Event(), trio.Event()
        runs: list[Run] = []

        def start(run: Run) -> None:
            for family, text in rules.text().items():
                iptables.restore(family, text)
            runs.append(run)
            started.set()

        async def run_then_stop() -> None:
            await started.wait()
            await run(runs[0])
            stop.set()

        with ungrouped():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(run_then_stop)
                summary = await shape(settings, started=start, stop=stop)
                nursery.cancel_scope.cancel()
        # What the rules brought, and what the kernel numbered: see `Run`.
        received = summary.taken + (summary.lost_buffer_full or 0)
        matched = rules.look().packets - (summary.lost_queue_full or 0)
        return replace(summary, bypassed=max(0, matched - received, runs[0].engine.last_id - received))

    summary = trio.run(main)
    _, records = read_journal(journal)
    return summary, tuple(records)


def _last(file: IO[bytes]) -> bytes:
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - KEPT))
    return file.read()
