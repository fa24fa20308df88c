"""Shaping in a network that this process alone has: no guardian, nobody who removes rules; it ends with the process."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import trio

from shaper.live.nursery import ungrouped
from shaper.live.rules import iptables
from shaper.live.rules.rules import Match, Rules
from shaper.live.session import Run, Settings, shape
from shaper.live.settings import Capture
from shaper.live.summary import Summary
from shaper.policy.base import Policy
from shaper.spec.scenario import Scenario

QUEUE = 0
"""The number of the queue: nobody else is in this network."""


def shape_while(
    run: Callable[[Run], Awaitable[None]],
    *,
    policies: tuple[Policy, ...],
    specs: tuple[str, ...],
    seed: str,
    journal: Path,
    scenario: Scenario | None = None,
    shaped: bool = True,
    captures: tuple[Capture, ...] = (),
) -> Summary:
    """Shape lo of this process's network while something runs; returns what came of it.

    Args:
        run: called once packets are shaped.
        policies, specs: the pipeline, and as the user wrote it.
        seed, scenario, captures: see `Settings`.
        journal: gets what happens to each packet.
        shaped: without it, no packet meets the policies.

    Raises:
        ShaperError: see `session.shape`.
    """
    settings = Settings(
        policies=policies,
        match=Match(),
        specs=specs,
        scenario=scenario,
        queue=QUEUE,
        seed=seed,
        on_error="continue",
        journal=journal,
        captures=captures,
        one_verdict_per_write=True,
        install_rules=False,
    )
    rules = Rules(settings.match, QUEUE)

    async def main() -> Summary:
        started, stop = trio.Event(), trio.Event()
        runs: list[Run] = []

        def start(run: Run) -> None:
            for family, text in rules.text().items() if shaped else ():
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
        if not shaped:
            return summary
        # What the rules brought, and what the kernel numbered: see `Run`.
        received = summary.taken + (summary.lost_buffer_full or 0)
        matched = rules.look().packets - (summary.lost_queue_full or 0)
        return replace(summary, bypassed=max(0, matched - received, runs[0].engine.last_id - received))

    return trio.run(main)
