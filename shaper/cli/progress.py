"""What `shaper start` says of a run: what it would do, what it set up, how it goes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from shaper.live.session import Run, Settings
    from shaper.live.workers.workers import Workers


def show_plan(out: Console, settings: Settings, workers: int) -> None:
    """What would be done."""
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


def say_started(out: Console, run: Run | Workers) -> None:
    """What was set up."""
    match = run.settings.match
    what = f"{match.hook} packets of {match.interface}" if run.rules is not None else "what your rules bring"
    out.out(f"shaping {what}, {run.queues}: {', '.join(run.settings.specs)}", highlight=False)
    if run.rules is not None:
        out.print(f"installed {' and '.join(run.rules.text())} rules; Ctrl-C stops and removes them")


async def show_progress(out: Console, run: Run | Workers) -> None:
    """A line that tells how it goes, on a terminal."""
    import trio
    from rich.live import Live

    with Live(console=out, auto_refresh=False, transient=True) as line:
        while True:
            now = run.progress()
            line.update(
                f"{now.taken:,} packets, {now.held:,} held, {now.dropped:,} dropped, "
                f"{now.bypassed:,} bypassed, {now.late / 1e6:.3f} ms late at most",
                refresh=True,
            )
            await trio.sleep(1)
