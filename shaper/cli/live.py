"""Live traffic shaped from the command line, until a signal or the settings end it."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from shaper.cli.progress import say_started, show_progress

if TYPE_CHECKING:
    from rich.console import Console

    from shaper.core.failure import Failure
    from shaper.live.session import Run, Settings
    from shaper.live.summary import Summary
    from shaper.live.workers.workers import Workers


def run(out: Console, settings: Settings, workers: int, cpus: Sequence[int]) -> Summary:
    """Shape until a signal or the settings end it."""
    import trio

    from shaper.live.guardian.guardian import TakenOver
    from shaper.live.nursery import ungrouped
    from shaper.live.session import shape

    failures: list[Failure] = []

    async def stop_on_signal(stop: trio.Event, *, task_status: trio.TaskStatus[None]) -> None:
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as signals:
            task_status.started()
            async for _ in signals:
                stop.set()

    async def main() -> Summary:
        stop = trio.Event()
        with ungrouped():
            async with trio.open_nursery() as nursery:
                await nursery.start(stop_on_signal, stop)

                def started(run: Run | Workers) -> None:
                    say_started(out, run)
                    if out.is_terminal:
                        nursery.start_soon(show_progress, out, run)

                def failed(failure: Failure) -> None:
                    failures.append(failure)
                    if settings.on_error == "continue":
                        print(f"shaper: {failure}", file=sys.stderr)

                if workers == 1:
                    summary = await shape(settings, started=started, failed=failed, warned=warn, stop=stop)
                else:
                    from shaper.live.workers.workers import shape_together

                    summary = await shape_together(
                        settings, workers, cpus, started=started, failed=failed, warned=warn, stop=stop
                    )
                nursery.cancel_scope.cancel()
        return summary

    try:
        return trio.run(main)
    except TakenOver:
        # There will be no summary to tell of the hook that never returned.
        if settings.on_error == "stop":
            for failure in failures:
                print(f"shaper: {failure}", file=sys.stderr)
        raise


def warn(message: str) -> None:
    print(f"shaper: {message}", file=sys.stderr)
