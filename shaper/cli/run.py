"""`shaper run`: a command in a private network, whose lo is shaped."""

from __future__ import annotations

import os
import shlex
import sys
from contextlib import ExitStack, closing, nullcontext
from typing import TYPE_CHECKING, Annotated

import typer

from shaper.cli.options import FigureFile, Json, MaxHold, Offload, Policies, ProfileName, Seed, given_scenario
from shaper.cli.shaping import (
    WATCHDOG,
    ArrivedFile,
    CaptureFile,
    Filter,
    JournalFile,
    OnError,
    Ports,
    Protocol,
    SentFile,
    Watchdog,
    captures,
    ports_of,
)
from shaper.cli.tracing import JOURNAL, All, ChromeFile, FoldedFile, Glance, RecordingDir, give, kept, tracing_of
from shaper.core.core import MAX_HOLD
from shaper.errors import UsageError
from shaper.topology import ends

if TYPE_CHECKING:
    from collections.abc import Callable

    from shaper.core.failure import Failure
    from shaper.linux.command import Command
    from shaper.linux.commands import Commands
    from shaper.live.session import Run, Settings
    from shaper.live.summary import Summary

EXAMPLES = (
    "shaper run --policy delay:20ms -- ping -U -c 3 127.0.0.1",
    "shaper run --policy spread_burst:gap=10ms --port 5432 -- make test",
    "shaper run --policy ./drop_third.py --json=out.json -- pytest tests/net",
    "sudo shaper run --policy delay:100ms --trace -- ./client-and-server.sh",
    "shaper run --profile 3g -- pytest tests/net",
    "shaper run --profile lte --network internet -- curl https://example.com",
    "shaper run --policy delay:20ms --network routed -- ping -c 1 server",
)

Network = Annotated[
    ends.Kind,
    typer.Option(
        help="private: only lo, which is shaped; internet: with a way to the host's network; routed: a client and a "
        "server with a router between them; dumbbell: several clients, a server, and one bottleneck."
    ),
]


def run(
    context: typer.Context,
    policy: Policies,
    command: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="COMMAND", show_default=False, help="The command and its arguments, after --. [default: a shell]"
        ),
    ] = None,
    profile: ProfileName = None,
    protocol: Protocol = "all",
    port: Ports = None,
    expression: Filter = None,
    mtu: Annotated[
        int, typer.Option(metavar="BYTES", help="The MTU; with 1500, packets are as large as on Ethernet.")
    ] = 1500,
    network: Network = "private",
    at: Annotated[
        str | None,
        typer.Option(
            "--at",
            metavar="END",
            help="Where the command runs: server, client, client2 … May come again, after a command: "
            "--at server -- COMMAND --at client -- COMMAND. When the clients have ended, so do the servers.",
        ),
    ] = None,
    clients: Annotated[int, typer.Option(metavar="N", help="With --network dumbbell: how many there are.")] = 1,
    offload: Offload = "on",
    publish: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PORT:INSIDE[/udp]", help="With --network internet: a port of the host that leads inside."
        ),
    ] = None,
    seed: Seed = "0",
    max_hold: MaxHold = MAX_HOLD,
    on_error: OnError = "stop",
    watchdog: Watchdog = WATCHDOG,
    journal: JournalFile = None,
    pcap: CaptureFile = None,
    pcap_arrived: ArrivedFile = None,
    pcap_sent: SentFile = None,
    trace: Annotated[
        bool,
        typer.Option(
            "--trace", help="Show which of the command's system calls slept, and which packets were to blame."
        ),
    ] = False,
    recording: RecordingDir = None,
    chrome: ChromeFile = None,
    figure: FigureFile = None,
    folded: FoldedFile = None,
    glance: Glance = False,
    everything: All = False,
    json: Json = None,
) -> int:
    """Run a command in a private network, and shape its packets.

    Needs no root where user namespaces are allowed. The command keeps its user, and sees
    no network but lo, whose packets are shaped, unless --network gives it another. Without a command, a shell runs.
    The exit status is the command's; if that is 0, it is 1 if a policy
    failed, or packets were lost or passed unshaped. Ctrl-C goes to the command; shaper
    ends when the command ends. --trace needs root and tracefs to show what woke each
    call; without them it uses strace, which doesn't know.
    """
    from dataclasses import replace

    import trio

    from shaper.core.failure import PoliciesFailed
    from shaper.linux.commands import Commands, be_server, take_no_input
    from shaper.live.session import Settings
    from shaper.report.output import STDOUT, console, write_json
    from shaper.report.progress import reading
    from shaper.spec.load import load_pipeline
    from shaper.topology.topology import Topology

    ports = [ends.published(each) for each in publish or ()]
    if network != "internet" and ports:
        raise UsageError("--publish needs --network internet")
    placed = ends.commands_at(command or a_shell(), at, ends.ends_of(network, clients))
    servers, deciding = ends.by_role(placed)
    main = deciding[-1]
    pipeline = load_pipeline(policy, max_hold)
    out = console(STDOUT)  # standard output is the command's, or with --json the document's
    with ExitStack() as opened:
        tracing = None
        files = (recording, chrome, figure, folded)
        if trace or glance or everything or any(file is not None for file in files):
            directory = opened.enter_context(kept(recording))
            tracing = tracing_of(list(main.command), directory)
            journal = journal or directory / JOURNAL
        topology = opened.enter_context(closing(Topology(network, clients, mtu, offload, ports)))
        settings = Settings(
            policies=pipeline,
            match=replace(topology.match, protocol=protocol, ports=ports_of(port), filter=expression),
            specs=tuple(policy),
            scenario=given_scenario(context),
            seed=seed,
            max_hold=max_hold,
            on_error=on_error,
            watchdog=watchdog,
            journal=journal,
            captures=captures(pcap, pcap_arrived, pcap_sent),
            one_verdict_per_write=tracing is not None,
            # As root, files and traces are written after the command has ended.
            confined=os.geteuid() != 0,
        )
        private = topology.enter()

        def spawn(place: ends.CommandAt, become: Callable[[], None]) -> Command:
            move = topology.move(place.end)

            def prepare() -> None:
                move()
                become()

            is_traced = tracing is not None and place is main
            return private.spawn_inside(
                tracing.command if tracing and is_traced else list(place.command),
                prepare=prepare,
                stdout=sys.stderr.fileno() if json == STDOUT else None,
                through_strace=tracing is not None and is_traced and tracing.why_strace is not None,
            )

        commands = Commands(
            [spawn(place, be_server) for place in servers],
            [*(spawn(place, take_no_input) for place in deciding[:-1]), spawn(main, lambda: None)],
            _say_deaf,
        )
        with tracing.of(commands.pids) if tracing else nullcontext():
            summary, status = trio.run(_shape, settings, commands)
        out.print(summary.report())
        for problem in summary.problems()[len(summary.failures) :]:  # the failures of policies are printed already
            print(f"shaper: {problem}", file=sys.stderr)
        content, incomplete = summary.to_json(), 0
        if tracing and journal:
            from shaper.trace.show import as_json

            with reading(tracing.trace, out):
                result, records = tracing.report(journal, commands.pids)
            title = f"{shlex.join(main.command)}: {' | '.join(policy)}"
            incomplete = give(
                result,
                records,
                out,
                title=title,
                csv=None,
                chrome=chrome,
                figure=figure,
                folded=folded,
                glance=glance,
                everything=everything,
            )
            content["trace"] = as_json(result)
        write_json(content, json)
    if summary.failures and not status:
        raise PoliciesFailed(summary.failures)
    return status or summary.status or incomplete


def a_shell() -> list[str]:
    """The command where none is given: on a terminal the user's shell.

    Raises:
        UsageError: this is no terminal.
    """
    if not sys.stdin.isatty():
        raise UsageError("Missing argument 'COMMAND'; see `shaper run --help`")
    return [os.environ.get("SHELL", "/bin/sh")]


async def _shape(settings: Settings, commands: Commands) -> tuple[Summary, int]:
    """Shape while the commands run; returns the summary and their exit status."""
    import trio

    from shaper.live.guardian.guardian import TakenOver
    from shaper.live.nursery import ungrouped
    from shaper.live.session import shape

    status = 0
    ended, stop = trio.Event(), trio.Event()
    runs: list[Run] = []

    def started(run: Run) -> None:
        runs.append(run)
        nursery.start_soon(commands.start)

    def before_stop() -> None:
        for run in runs:
            if run.guardian is not None:
                run.guardian.stops()

    async def await_end() -> None:
        nonlocal status
        status = await commands.wait()
        ended.set()
        stop.set()

    with ungrouped():
        async with trio.open_nursery() as nursery:
            await nursery.start(commands.pass_signals_on, before_stop)
            nursery.start_soon(await_end)
            try:
                summary = await shape(settings, started=started, failed=_tell, stop=stop)
            except TakenOver:
                await ended.wait()
                raise
            await ended.wait()
            nursery.cancel_scope.cancel()
    return summary, status


def _say_deaf(server: Command) -> None:
    """The clients start now, all the same."""
    print(f"shaper: process {server.pid}, at the server, listens to nothing so far", file=sys.stderr)


def _tell(failure: Failure) -> None:
    print(f"shaper: {failure}", file=sys.stderr)
