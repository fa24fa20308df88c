"""One run of a workload, over a path that is shaped or not; `probe` makes several."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import trio

from shaper.core.core import MAX_HOLD, Core
from shaper.core.failure import Failure, PoliciesFailed
from shaper.journal import Record, read_journal
from shaper.probe.ends.account import Account, Call
from shaper.probe.ends.plan import ProbePlan
from shaper.probe.ends.processes import EndProcess, fork, play
from shaper.probe.ends.realtime import set_realtime
from shaper.spec.load import load_pipeline
from shaper.spec.scenario import Scenario
from shaper.units import s

if TYPE_CHECKING:
    from shaper.trace.report import TraceReport

EPILOGUE = 1 * s
"""How long (ns) to wait for packets that are still held when both ends are done."""


@dataclass(frozen=True)
class ProbeRun:
    """What happened in one run.

    Attributes:
        accounts: of the server and the client.
        records: the journal of all packets; empty if nothing shaped them.
        trace: what the kernel's tracer saw of both ends; None if they were not traced.
    """

    accounts: tuple[Account, ...]
    records: tuple[Record, ...] = ()
    trace: TraceReport | None = None

    @property
    def began(self) -> int:
        """When the client made its first call, in ns; the server's first if there is no client."""
        accounts = sorted(self.accounts, key=lambda account: account.role)
        return next((account.calls[0].start for account in accounts if account.calls), 0)

    def calls(self, role: str) -> tuple[Call, ...]:
        """All calls of one end, in order."""
        return next((account.calls for account in self.accounts if account.role == role), ())


def probe(
    plan: ProbePlan,
    policies: Sequence[str] = (),
    *,
    scenario: Scenario | None = None,
    repeat: int = 1,
    seed: str = "0",
    max_hold: int = MAX_HOLD,
    traced: bool = False,
) -> Iterator[ProbeRun]:
    """Play the workload, run after run, with the packets that the plan names shaped by these policies.

    Args:
        policies: their SPECs; without one, nothing is shaped.
        scenario: its phases follow; the policies are those of the first one. Each run begins with that.
        repeat: how many runs.
        max_hold: the longest that a packet is held, in ns.
        traced: have the kernel trace both ends.

    Raises:
        LoadError: a policy that can't be used.
        ShaperError: this namespace can't be shaped, or the ends can't be traced.
    """
    set_realtime()
    play_once = partial(_run, plan=plan, policies=policies, scenario=scenario, seed=seed, max_hold=max_hold)
    runs = [fork(plan) for _ in range(repeat)]
    for ends in runs:
        yield _trace(play_once, ends) if traced else trio.run(play_once, ends)


def _trace(play_once: Callable[[Sequence[EndProcess]], Awaitable[ProbeRun]], ends: Sequence[EndProcess]) -> ProbeRun:
    """Play once, while the kernel traces both ends."""
    from shaper.trace.read.source import read_trace
    from shaper.trace.record.recorder import TraceRecorder
    from shaper.trace.report import report

    pids = [end.pid for end in ends]
    with TemporaryDirectory(prefix="shaper-trace-") as directory:
        with TraceRecorder(Path(directory), pids):
            run = trio.run(play_once, ends)
        return replace(run, trace=report(read_trace(Path(directory)), run.records, pids=pids))


async def play_to_end(ends: Sequence[EndProcess], core: Core) -> list[Account]:
    """Let both ends play, until no packet of theirs is held: the end of shaping would cut the last holds short.

    Args:
        core: what holds the packets.
    """
    accounts = await play(ends)
    with trio.move_on_after(EPILOGUE / s):
        while core.counts.held:
            await trio.sleep(EPILOGUE / s / 100)
    return accounts


async def _run(
    ends: Sequence[EndProcess],
    plan: ProbePlan,
    policies: Sequence[str],
    scenario: Scenario | None,
    seed: str,
    max_hold: int,
) -> ProbeRun:
    if not policies:
        return ProbeRun(tuple(await play(ends)))
    from shaper.live.nursery import ungrouped
    from shaper.live.session import Run, Settings, shape

    accounts: list[Account] = []
    with TemporaryDirectory(prefix="shaper-probe-") as directory:
        journal = Path(directory, "journal.jsonl")
        settings = Settings(
            policies=load_pipeline(policies, max_hold),
            match=plan.match,
            specs=tuple(policies),
            scenario=scenario,
            seed=seed,
            max_hold=max_hold,
            journal=journal,
            one_verdict_per_write=True,
        )
        ready, over = trio.Event(), trio.Event()
        failures: list[Failure] = []
        under_way: list[Run] = []

        def started(run: Run) -> None:
            under_way.append(run)
            ready.set()

        async def play_then_stop() -> None:
            await ready.wait()
            accounts.extend(await play_to_end(ends, under_way[0].core))
            over.set()

        with ungrouped():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(play_then_stop)
                await shape(settings, started=started, failed=failures.append, stop=over)
                nursery.cancel_scope.cancel()
        if failures:
            raise PoliciesFailed(failures)
        _, records = read_journal(journal)
    return ProbeRun(tuple(accounts), tuple(records))
