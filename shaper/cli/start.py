"""`shaper start`: live traffic through policies."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from shaper.cli.live import Access, run, show_plan
from shaper.cli.log import LogFormat
from shaper.cli.options import Json, MaxHold, Policies, ProfileName, Seed, duration, given_scenario
from shaper.cli.shaping import (
    AUTO,
    WATCHDOG,
    ArrivedFile,
    CaptureFile,
    Cgroup,
    Container,
    Destination,
    Filter,
    Hooks,
    Host,
    Interfaces,
    JournalFile,
    Netns,
    OnError,
    Pid,
    Ports,
    Protocol,
    SentFile,
    Source,
    UnitName,
    Watchdog,
    automatic_workers,
    captures,
    check_workers,
    cpu_list,
    hooks_of,
    interfaces_of,
    place_of,
    ports_of,
    worker_count,
)
from shaper.core.core import MAX_HOLD
from shaper.errors import UsageError
from shaper.live import choices
from shaper.spec.match import ANY

EXAMPLES = (
    "sudo shaper start --policy spread_burst:gap=20ms --port 8765",
    "sudo shaper start --policy ./drop_third.py --interface eth0 --port 53",
    "sudo shaper start --policy delay:20ms --netns web --duration 30s --json",
    "sudo shaper start --policy delay:20ms --container web",
    "sudo shaper start --profile lte --interface eth0 --port 443",
)


def start(
    context: typer.Context,
    policy: Policies,
    profile: ProfileName = None,
    interface: Interfaces = None,
    hook: Hooks = None,
    protocol: Protocol = "all",
    port: Ports = None,
    source: Source = None,
    destination: Destination = None,
    host: Host = None,
    expression: Filter = None,
    netns: Netns = None,
    container: Container = None,
    pid: Pid = None,
    cgroup: Cgroup = None,
    unit: UnitName = None,
    queue: Annotated[
        int | None,
        typer.Option(metavar="N", min=0, max=65535, help="Use the queue with this number. [default: a free one]"),
    ] = None,
    seconds: Annotated[
        int | None, typer.Option("--duration", metavar="TIME", parser=duration, help="Stop after this time.")
    ] = None,
    seed: Seed = "0",
    journal: JournalFile = None,
    pcap: CaptureFile = None,
    pcap_arrived: ArrivedFile = None,
    pcap_sent: SentFile = None,
    pair: Annotated[
        bool,
        typer.Option(
            "--pair", help="Let `shaper report` match --journal with a trace that is recorded meanwhile; slower."
        ),
    ] = False,
    trace_marker: Annotated[
        bool,
        typer.Option("--trace-marker", help="Mark in the kernel's trace when each packet came and when it went on."),
    ] = False,
    max_hold: MaxHold = MAX_HOLD,
    on_error: OnError = "stop",
    watchdog: Watchdog = WATCHDOG,
    fail: Annotated[
        choices.WhenFull,
        typer.Option(
            help="When packets come faster than shaper takes them: let the others pass unshaped, or drop them."
        ),
    ] = "open",
    on_rules_lost: Annotated[
        choices.OnRulesLost,
        typer.Option(help="When another program removes shaper's rules: install them again, or stop."),
    ] = "restore",
    timing: Annotated[
        choices.Timing,
        typer.Option(help="How much CPU time to spend on sending packets exactly on time."),
    ] = "balanced",
    workers: Annotated[
        int,
        typer.Option(
            metavar="N|auto",
            parser=worker_count,
            help="Use N processes, each with its own queue; all packets of a connection go to the same one. "
            "auto: two thirds of the CPUs that shaper may use, or as many as --cpu names; 1 on lo, and where several "
            "would do something else.",
        ),
    ] = 1,
    cpu: Annotated[
        str | None,
        typer.Option(metavar="N[,N…]", help="Keep the engine on this CPU; with --workers, name one CPU for each."),
    ] = None,
    realtime: Annotated[
        bool,
        typer.Option(
            "--realtime", help="Run the engine before all programs that are not real-time (SCHED_FIFO, priority 1)."
        ),
    ] = False,
    gso: Annotated[
        bool | None,
        typer.Option(
            "--gso/--no-gso",
            help="Take TCP data before it is cut into segments, up to 64 kB at once: bulk transfers are faster, but "
            "policies see many segments as one packet. By default where all policies allow it, for what doesn't go out "
            "through a real interface, and without files of packets.",
            show_default=False,
        ),
    ] = None,
    connmark: Annotated[
        bool,
        typer.Option(
            "--connmark",
            help="Let connections leave the queue that no policy will touch: they get a mark, and their packets pass "
            "at the kernel's own speed, unseen. This turns on connection tracking.",
        ),
    ] = False,
    allow_bypass: Annotated[
        bool, typer.Option("--allow-bypass", help="Don't count it as a failure if packets passed unshaped.")
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="Confirm that you want to shape all traffic of an interface other than lo.")
    ] = False,
    no_rules: Annotated[
        bool, typer.Option("--no-rules", help="Install no iptables rules: your own send packets to --queue.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the rules and the queue's settings, and do nothing else.")
    ] = False,
    name: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="What other commands, such as `shaper status`, call it. "
            "[default: as its container, namespace or unit, or the queue's number]",
        ),
    ] = None,
    listen: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Serve the control API and its page there, too."),
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Whoever uses --listen must show the token in this file."),
    ] = None,
    log: Annotated[
        LogFormat | None,
        typer.Option(
            help="Write a line a minute, and at each change, with the time. [default: text, if not on a terminal]",
            show_default=False,
        ),
    ] = None,
    json: Json = None,
) -> int:
    """Shape live traffic until Ctrl-C, SIGTERM or --duration.

    At the end all held packets go on, in order, the rules are removed, and a summary is
    printed. The exit status is 1 if a policy failed, or if packets were lost, passed
    unshaped, or were sent early because of --max-hold.
    """
    from shaper.core.failure import PoliciesFailed
    from shaper.linux import capabilities, scheduling
    from shaper.live.front.follow import look_for
    from shaper.live.rules.rules import Match
    from shaper.live.settings import Settings
    from shaper.report.output import STDOUT, console, document, keep_json, write_json
    from shaper.spec.load import load_pipeline
    from shaper.trace.record.tracefs import open_marker

    capabilities.take()
    place = place_of(netns=netns, container=container, pid=pid, cgroup=cgroup, unit=unit)
    interfaces, hooks = interfaces_of(interface), hooks_of(hook)
    if interface is None and (container, pid) != (None, None):
        interfaces = ()  # all but lo
    if interface is None and (cgroup, unit) != (None, None):
        interfaces = (ANY,)
    match = Match(interfaces, hooks, protocol, ports_of(port), source, destination, expression, host)
    if place is None:
        match.check()
    elif (spot := look_for(place, match)) is not None:
        spot.namespace.close()
    if interfaces and match.takes_all and not yes and not no_rules:
        raise UsageError(
            f"this would shape all {match.where}; narrow it with --port, --protocol, --host, "
            "--source, --destination or --filter, or add --yes"
        )
    if no_rules and queue is None:
        raise UsageError("--no-rules needs --queue N, the queue of your own rules")
    if connmark and no_rules:
        raise UsageError("--connmark sets a rule; leave out --no-rules")
    if pair and journal is None:
        raise UsageError("--pair is for the journal; add --journal FILE")
    cpus = cpu_list(cpu) if cpu is not None else []
    if cpus and workers not in (AUTO, len(cpus)):
        raise UsageError(f"--cpu names {len(cpus)} CPUs for --workers {workers}; name one for each worker")
    scheduling.check(cpus)
    settings = Settings(
        policies=load_pipeline(policy, max_hold),
        specs=tuple(policy),
        profile=profile or "",
        scenario=given_scenario(context),
        match=match,
        queue=queue,
        seed=seed,
        max_hold=max_hold,
        on_error=on_error,
        watchdog=watchdog,
        journal=journal,
        captures=captures(pcap, pcap_arrived, pcap_sent),
        one_verdict_per_write=pair,
        marks=open_marker() if trace_marker and not dry_run else None,
        install_rules=not no_rules,
        duration=seconds,
        fail_open=fail == "open",
        timing=timing,
        gso=gso,
        connmark=connmark,
        on_rules_lost=on_rules_lost,
        allow_bypass=allow_bypass,
        cpu=cpus[0] if cpus else None,
        realtime=realtime,
        confined=True,
    )
    if workers == AUTO:
        workers = automatic_workers(settings, cpus)
    check_workers(settings, workers)
    out = console(json)
    if dry_run:
        show_plan(out, settings, workers, place)
        return 0
    with document(json) as target:
        summary = run(
            out,
            settings,
            workers,
            cpus,
            Access(name, listen, token_file),
            place,
            log,
            partial(keep_json, path=json) if json and json != STDOUT else None,
        )
        out.print(summary.report())
        write_json(summary.to_json(), target)
    for problem in summary.problems()[len(summary.failures) :]:
        print(f"shaper: {problem}", file=sys.stderr)
    if summary.failures:
        raise PoliciesFailed(summary.failures)
    return summary.status
