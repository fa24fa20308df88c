"""What `shaper start` does and prints: a plan, or live traffic shaped until a signal or the settings end it."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from shaper.core.failure import Failure
    from shaper.live.front.front import Front
    from shaper.live.settings import Settings
    from shaper.live.summary import Summary


def show_plan(out: Console, settings: Settings, workers: int) -> None:
    """Print what would be done."""
    from shaper.live.nfqueue.numbers import first_number, numbered
    from shaper.live.rules.rules import Rules

    number = first_number(settings.queue, workers)
    out.print(
        f"{numbered(number, workers)}: {settings.length} packets at most, {settings.buffer} bytes of socket buffer,\n"
        f"{settings.copy_range} bytes of each packet copied"
    )
    if settings.install_rules:
        for family, text in Rules(settings.match, number, workers).text().items():
            out.out(f"\n# {family}\n{text}", end="", highlight=False)


def run(out: Console, settings: Settings, workers: int, cpus: Sequence[int]) -> Summary:
    """Shape until a signal or the settings end it; returns the summary.

    Raises:
        TakenOver: a guardian had to end it.
        ShaperError: shaping is not possible here.
    """
    import trio

    from shaper.live.front.front import Front
    from shaper.live.guardian.guardian import TakenOver
    from shaper.live.nursery import ungrouped

    failures: list[Failure] = []

    def failed(failure: Failure) -> None:
        failures.append(failure)
        if settings.on_error == "continue":
            print(f"shaper: {failure}", file=sys.stderr)

    async def stop_on_signal(*, task_status: trio.TaskStatus[None]) -> None:
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as signals:
            task_status.started()
            async for _ in signals:
                front.stop()

    front = Front(settings, workers, cpus, failed, warn)

    async def main() -> Summary:
        with ungrouped():
            async with trio.open_nursery() as nursery:
                await nursery.start(stop_on_signal)

                def started() -> None:
                    say_started(out, front)
                    if out.is_terminal:
                        nursery.start_soon(show_progress, out, front)

                summary = await front.run(started)
                nursery.cancel_scope.cancel()
        return summary

    try:
        return trio.run(main)
    except TakenOver:
        # There will be no summary that names the hook that never returned.
        if settings.on_error == "stop":
            for failure in failures:
                print(f"shaper: {failure}", file=sys.stderr)
        raise


def warn(message: str) -> None:
    """Print a warning, in one line."""
    print(f"shaper: {message}", file=sys.stderr)


def say_started(out: Console, front: Front) -> None:
    """Print what was set up."""
    match = front.settings.match
    what = f"{match.hook} packets of {match.interface}" if front.rules is not None else "what your rules bring"
    out.out(f"shaping {what}, {front.queues}: {', '.join(front.settings.specs)}", highlight=False)
    if front.rules is not None:
        out.print(f"installed {' and '.join(front.rules.text())} rules; Ctrl-C stops and removes them")


async def show_progress(out: Console, front: Front) -> None:
    """A line with the counts so far, on a terminal; runs until it is cancelled."""
    import trio
    from rich.live import Live

    with Live(console=out, auto_refresh=False, transient=True) as line:
        while True:
            now = front.progress()
            line.update(
                f"{now.taken:,} packets, {now.held:,} held, {now.dropped:,} dropped, "
                f"{now.bypassed:,} bypassed, {now.late / 1e6:.3f} ms late at most",
                refresh=True,
            )
            await trio.sleep(1)
