"""A run, from binding the queue to the summary: the one way in which live traffic is shaped.

The order at the end keeps packets from being lost: all that are held go on, in order; what still comes passes at once;
the rules are detached; the queue is drained until it is empty; only then is it closed, because closing makes the kernel
drop what is left in it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, closing

import trio

from shaper.core.core import Core
from shaper.core.failure import Failure
from shaper.linux.capabilities import confine
from shaper.linux.scheduling import scheduled
from shaper.live.connmark import Connmark, free_mark
from shaper.live.conntrack import Conntrack
from shaper.live.drain_watcher import DrainWatcher
from shaper.live.engine import Engine
from shaper.live.guardian.endless import interruptible
from shaper.live.guardian.guardian import Guardian
from shaper.live.inject import Injector
from shaper.live.memory import MemoryLimit, keep_pages
from shaper.live.nfqueue.counters import QueueCounters
from shaper.live.nfqueue.output import OutputQueue
from shaper.live.nfqueue.queue import open_queue
from shaper.live.record import PacketRecorder
from shaper.live.rules.owner import Owner
from shaper.live.rules.rules import Rules
from shaper.live.rules.ruleset import RuleSet
from shaper.live.run import Run
from shaper.live.settings import Settings
from shaper.live.shared_rules import SharedRules
from shaper.live.summary import Summary

__all__ = ["Run", "Settings", "shape"]


async def shape(
    settings: Settings,
    *,
    started: Callable[[Run], None] = lambda run: None,
    failed: Callable[[Failure], None] = lambda failure: None,
    warned: Callable[[str], None] = lambda message: None,
    stop: trio.Event | None = None,
    shared: SharedRules | None = None,
) -> Summary:
    """Shape live traffic until `stop` is set or the settings say so, and leave nothing behind, however it ends.

    Args:
        settings: what, how, how long.
        started: called once packets are shaped.
        failed: called with the first failure of each policy, at once.
        warned: called with each warning while it runs, one line.
        stop: ends the run when set.
        shared: the rules, if a front installs them; then this run installs none.

    Raises:
        QueueError: the queue can't be bound.
        RulesError: the rules can't be set.
        UsageError: no packet could ever match; there is no such CPU.
        ShaperError: SCHED_FIFO is not permitted.
        TakenOver: the guardian took this process for dead.
    """
    if stop is None:
        stop = trio.Event()
    with ExitStack() as opened:
        run = _open(settings, opened, failed, warned, shared)
        try:
            started(run)
            await run.until(stop)
        finally:
            with trio.CancelScope(shield=True):
                await run.finish()
        return run.summary()


def _open(
    settings: Settings,
    opened: ExitStack,
    failed: Callable[[Failure], None],
    warned: Callable[[str], None],
    shared: SharedRules | None,
) -> Run:
    """Bind the queue, then bring packets to it."""
    # Rules of the user's own may match ports, too.
    pass_strays = settings.match.needs_ports or not settings.install_rules
    core = Core(
        settings.policies,
        seed=settings.seed,
        max_hold=settings.max_hold,
        then=settings.scenario.then(settings.max_hold, settings.elapsed) if settings.scenario else (),
        pass_strays=pass_strays,
    )
    queue = opened.enter_context(
        closing(
            open_queue(
                settings.queue,
                copy_range=settings.copy_range,
                length=settings.length,
                buffer=settings.buffer,
                fail_open=settings.fail_open,
                gso=settings.takes_uncut(settings.all_policies),
            )
        )
    )
    output = None
    if settings.install_rules and "output" in settings.match.passed_hooks:
        output = OutputQueue(
            queue.number,
            length=settings.length,
            buffer=settings.buffer,
            fail_open=settings.fail_open,
            gso=settings.takes_uncut(settings.all_policies),
        )
        opened.enter_context(closing(output))
    recorder = None
    if settings.captures or (settings.journal, settings.marks) != (None, None):
        recorder = PacketRecorder(
            settings.journal,
            settings.captures,
            policies=settings.specs,
            seed=settings.seed,
            paired=settings.one_verdict_per_write,
            forwarded=settings.match.passed_hooks == ("forward",),
            marks=settings.marks,
        )
        opened.enter_context(closing(recorder))
    injector = opened.enter_context(closing(Injector(settings.match)))
    drain_watcher = DrainWatcher() if core.listeners("drained") else None
    engine = Engine(
        core,
        queue,
        injector,
        output=output,
        recorder=recorder,
        drain_watcher=drain_watcher,
        one_by_one=settings.one_verdict_per_write,
        timing=settings.timing,
        others=None if shared is None else [shared.front],
    )
    opened.enter_context(closing(engine))
    rules: RuleSet | None = None
    if shared is not None:
        rules = shared.ask(queue.number)
    elif settings.install_rules:
        rules = Rules(settings.match, queue.number, mark=free_mark() if settings.connmark else 0)
    if rules is not None and rules.mark:
        engine.connmark = Connmark(core, opened.enter_context(closing(Conntrack())).mark, rules.mark)
    counters = opened.enter_context(closing(QueueCounters(queue.number)))
    run = Run(settings, queue, rules, core, engine, counters, failed, warned)
    if settings.watchdog is not None:
        owner, text = (rules.owner, rules.text()) if rules is not None else (Owner.here(queue.number), {})
        run.guardian = Guardian(
            queue.fileno(),
            owner,
            text,
            watchdog=settings.watchdog,
            number=queue.number,
            output=None if output is None else (output.fileno(), output.number),
            realtime=settings.realtime,
            front=shared.front if shared else None,
        )
        opened.callback(run.guardian.dismiss)
        opened.enter_context(interruptible(settings.watchdog))
    # If there is a guardian, it changes the rules, because this process may be confined.
    run.rules_control = rules and (run.guardian or rules)
    if shared is not None:
        shared.guardian = run.guardian
        run.rules_control = rules and shared
    elif rules is not None:
        rules.install()
    opened.enter_context(scheduled(cpu=settings.cpu, realtime=settings.realtime))
    keep_pages()
    if settings.confined:
        confine()
        run.memory_limit = opened.enter_context(closing(MemoryLimit()))
    if run.guardian is not None:
        # The start is over: from here on, before a policy sees the first packet, the watchdog's time holds.
        run.guardian.beat()
    return run
