"""What `shaper start` does and prints: a plan, or live traffic shaped until a signal or the settings end it."""

from __future__ import annotations

import re
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from shaper.verbose import detail

if TYPE_CHECKING:
    from rich.console import Console

    from shaper.cli.log import Log, LogFormat
    from shaper.control.listen import Listeners
    from shaper.core.failure import Failure
    from shaper.live.front.control import Control
    from shaper.live.front.front import Front
    from shaper.live.settings import Settings
    from shaper.live.state import Kind
    from shaper.live.summary import Summary
    from shaper.places.place import Place


def show_plan(out: Console, settings: Settings, workers: int, place: Place | None) -> None:
    """Print what would be done.

    Raises:
        ShaperError: the place isn't there.
    """
    from shaper.errors import ShaperError
    from shaper.live.connmark import STEP
    from shaper.live.front.follow import look_for
    from shaper.live.nfqueue.numbers import first_number, numbered
    from shaper.live.rules.rules import Rules

    if place is not None:
        if (spot := look_for(place, settings.match)) is None:
            raise ShaperError(f"{place.name} isn't running, so its rules are not known yet")
        spot.namespace.enter()
        settings = replace(settings, match=spot.match)
    number = first_number(settings.queue, workers)
    out.print(
        f"{numbered(number, workers)}: {settings.length} packets at most, {settings.buffer} bytes of socket buffer,\n"
        f"{settings.copy_range} bytes of each packet copied, "
        f"segments {'uncut' if settings.takes_uncut(settings.all_policies) else 'cut'}"
    )
    if settings.install_rules:
        mark = STEP if settings.connmark else 0
        for family, text in Rules(settings.match, number, workers, mark=mark).text().items():
            out.out(f"\n# {family}\n{text}", end="", highlight=False)


class Access(NamedTuple):
    """How a run can be controlled while it goes on: what it is called, and where it listens beside its own socket."""

    name: str | None = None
    listen: str | None = None
    token_file: Path | None = None


def run(
    out: Console,
    settings: Settings,
    workers: int,
    cpus: Sequence[int],
    access: Access,
    place: Place | None,
    log: LogFormat | None,
    keep: Callable[[dict[str, Any]], None] | None,
) -> Summary:
    """Shape until a signal or the settings end it; returns the summary.

    Args:
        out: where it says what it does.
        settings, workers, cpus: see `Front`.
        access: how it can be controlled.
        place: where the packets are; None for this network namespace.
        log: how a long run speaks; None: as text, or on a terminal with a line that changes.
        keep: called each second with the summary so far, if given.

    Raises:
        TakenOver: a guardian had to end it.
        ShaperError: shaping is not possible here.
        UsageError: the name is taken, or the address can't be used.
    """
    import trio

    from shaper.cli.log import Log
    from shaper.linux import systemd
    from shaper.live.front.control import Control
    from shaper.live.front.front import Front
    from shaper.live.guardian.guardian import TakenOver
    from shaper.live.nursery import ungrouped

    failures: list[Failure] = []

    def failed(failure: Failure) -> None:
        failures.append(failure)
        if settings.on_error == "continue":
            print(f"shaper: {failure}", file=sys.stderr)

    front = Front(settings, workers, cpus, failed, warn, place)
    speaks = Log(out, log or "text", front)
    listeners: list[Listeners] = []

    async def obey_signals(*, task_status: trio.TaskStatus[None]) -> None:
        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
        with trio.open_signal_receiver(*numbers) as signals:
            task_status.started()
            async for number in signals:
                if number == signal.SIGUSR1:
                    await speaks.counts()
                else:
                    front.stop()

    async def main() -> Summary:
        with ungrouped():
            async with trio.open_nursery() as nursery:
                await nursery.start(obey_signals)

                def ready() -> None:
                    if (opened := open_access(access, front)) is not None:
                        listeners.append(opened)
                        detail(f"controlled at {opened.path}")

                def started() -> None:
                    say_started(out, front)
                    systemd.notify("READY=1", f"STATUS={', '.join(settings.specs)}")
                    nursery.start_soon(keep_alive)
                    if keep is not None:
                        nursery.start_soon(keep_summary, front, keep)
                    if out.is_terminal and log is None:
                        front.listeners.append(partial(say_where, out))
                        nursery.start_soon(show_progress, out, front)
                    else:
                        front.listeners.append(speaks.happened)
                        nursery.start_soon(keep_log, speaks)
                    for opened in listeners:
                        for address in opened.addresses:
                            out.print(f"controlled at {address}")
                        control = Control(front, opened.name)
                        nursery.start_soon(control.run)
                        nursery.start_soon(serve_when_asked, control, opened, settings.specs)

                summary = await front.run(ready, started)
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
    finally:
        systemd.notify("STOPPING=1")
        speaks.close()
        for opened in listeners:
            opened.close()


def open_access(access: Access, front: Front) -> Listeners | None:
    """The sockets at which the run is controlled; None where that isn't installed, or no socket can be made.

    Raises:
        ShaperError: it was asked for explicitly, and can't be had; UsageError if the name is taken.
    """
    from importlib.util import find_spec

    from shaper.control.listen import open_listeners
    from shaper.errors import ShaperError

    is_asked = access != Access()
    if find_spec("fastapi") is None:
        if is_asked:
            warn("it can't be controlled while it runs; for that, install nfq-shaper[control]")
        return None
    try:
        return open_listeners(
            access.name or name_of(front),
            varies=access.name is None,
            listen=access.listen,
            token_file=access.token_file,
        )
    except ShaperError as error:
        if is_asked:
            raise
        warn(str(error))
        return None


async def serve_when_asked(control: Control, listeners: Listeners, known: Sequence[str]) -> None:
    """Serve the control API. What it is made of takes long to import, so that is done when somebody first connects."""
    import trio

    async with trio.open_nursery() as nursery:

        async def wait(one: socket.socket) -> None:
            await trio.lowlevel.wait_readable(one)
            nursery.cancel_scope.cancel()

        for one in (listeners.unix, *listeners.tcp):
            nursery.start_soon(wait, one)
    try:
        module = await trio.to_thread.run_sync(import_module, "shaper.control.serve", abandon_on_cancel=True)
        await module.serve(control, listeners, known)
    except Exception as error:  # whatever it is, packets go on
        warn(f"it can't be controlled any more: {type(error).__name__}: {error}")


async def keep_summary(front: Front, keep: Callable[[dict[str, Any]], None]) -> None:
    """Report the summary so far, each second."""
    import trio

    from shaper.errors import ShaperError

    while True:
        await trio.sleep(1)
        with suppress(ShaperError):  # the run ends
            looks = await front.ask("look")
            keep({**front.summary_of([look["result"] for look in looks]).to_json(), "is_running": True})


async def keep_alive() -> None:
    """Show systemd that this process lives, if it asks for that."""
    import trio

    from shaper.linux import systemd
    from shaper.units import s

    while (interval := systemd.watchdog_interval()) is not None:
        systemd.notify("WATCHDOG=1")
        await trio.sleep(interval / s)


async def keep_log(log: Log) -> None:
    """Write the counts, a line a minute."""
    import trio

    from shaper.cli.log import INTERVAL

    while True:
        await trio.sleep(INTERVAL)
        await log.counts()


def warn(message: str) -> None:
    """Print a warning, in one line."""
    print(f"shaper: {message}", file=sys.stderr)


def name_of(front: Front) -> str:
    """What a run is called that wasn't given a name: as its place, as far as that can be, or as its first queue."""
    label = re.sub("[^A-Za-z0-9_.-]+", "-", front.place.label).strip("-.")[:64] if front.place is not None else ""
    return label or str(front.first_queue)


def say_started(out: Console, front: Front) -> None:
    """Print what was set up."""
    if front.is_waiting and front.place is not None:
        out.out(f"waiting for {front.place.name}, to shape it: {', '.join(front.settings.specs)}", highlight=False)
        return
    what = front.match.where if front.rules is not None else "what your rules bring"
    where = f"{front.place.name}: " if front.place is not None else ""
    out.out(f"shaping {where}{what}, {front.queues}: {', '.join(front.settings.specs)}", highlight=False)
    if front.rules is not None:
        out.print(f"installed {' and '.join(front.rules.text())} rules; Ctrl-C stops and removes them")


def say_where(out: Console, kind: Kind, data: dict[str, Any]) -> None:
    """Print that the place has gone, or has come back."""
    if kind == "state" and "message" in data:
        out.out(data["message"], highlight=False)


async def show_progress(out: Console, front: Front) -> None:
    """A line with the counts so far, on a terminal; runs until it is cancelled."""
    import trio
    from rich.live import Live

    from shaper.cli.log import described

    with Live(console=out, auto_refresh=False, transient=True) as line:
        while True:
            await front.count()
            line.update(described(front), refresh=True)
            await trio.sleep(1)
