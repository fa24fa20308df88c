"""`shaper probe`: a real client and server over a shaped path, and what each of their calls waited for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from shaper.cli.options import (
    FigureFile,
    Json,
    MaxHold,
    Offload,
    ProfileName,
    Seed,
    duration,
    given_scenario,
    optional_pipeline,
    policy_names,
)
from shaper.core.core import MAX_HOLD
from shaper.errors import UsageError
from shaper.probe.ends.workload import names
from shaper.units import ms, s

if TYPE_CHECKING:
    from rich.console import Console

    from shaper.probe.ends.plan import ProbePlan
    from shaper.probe.ends.run import ProbeRun
    from shaper.spec.scenario import Scenario
    from shaper.topology.topology import Topology

EXAMPLES = (
    "shaper probe --policy delay:time=100ms",
    "shaper probe --policy delay:100ms --policy spread_burst:100ms --figure n.svg",
    "shaper probe --workload request:rounds=5 --policy delay:20ms --repeat 5",
    "shaper probe --policy delay:100ms --network routed",
    "shaper probe --server  # on one machine, with `shaper start` beside it",
    "shaper probe --client 192.0.2.7          # on the other",
)


def workload_names(incomplete: str) -> list[str]:
    """The shell's completions of a workload."""
    return [name for name in names() if name.startswith(incomplete)]


Workload = Annotated[
    str,
    typer.Option(
        metavar="NAME[:option=value,…]",
        help=f"What client and server do: {', '.join(names())}; or a file.py.",
        autocompletion=workload_names,
    ),
]
Shaping = Annotated[
    list[str] | None,
    typer.Option(
        "--policy",
        "-p",
        metavar="SPEC",
        callback=optional_pipeline,
        help="Shape the packets with this policy, as in `shaper start`; may be repeated. [default: not shaped]",
        autocompletion=policy_names,
    ),
]
Repeat = Annotated[int, typer.Option(metavar="N", min=1, help="Run it N times; the report has the medians.")]
Timeout = Annotated[
    int,
    typer.Option(
        metavar="TIME", parser=duration, show_default=False, help="Stop a run after this time. [default: 10s]"
    ),
]
Threshold = Annotated[
    int,
    typer.Option(
        metavar="TIME",
        parser=duration,
        show_default=False,
        help="Count calls that wait longer than this as blocked. [default: 1ms]",
    ),
]
Mtu = Annotated[int, typer.Option(metavar="BYTES", help="The MTU; with 1500, packets are as large as on Ethernet.")]
Network = Annotated[
    Literal["private", "routed"],
    typer.Option(help="private: both ends on one lo, which is shaped; routed: each in a network of its own."),
]


def probe(
    context: typer.Context,
    workload: Workload = "netcat",
    policy: Shaping = None,
    profile: ProfileName = None,
    repeat: Repeat = 1,
    threshold: Threshold = 1 * ms,
    timeout: Timeout = 10 * s,
    seed: Seed = "0",
    max_hold: MaxHold = MAX_HOLD,
    mtu: Mtu = 1500,
    network: Network = "private",
    offload: Offload = "on",
    figure: FigureFile = None,
    trace: Annotated[
        bool,
        typer.Option("--trace", help="Also trace both ends with the kernel, to see what woke each call; needs root."),
    ] = False,
    json: Json = None,
    server: Annotated[
        bool, typer.Option("--server", help="Run only the server, in the network of this machine.")
    ] = False,
    client: Annotated[
        str | None, typer.Option(metavar="HOST", help="Run only the client, with the server on that host.")
    ] = None,
    port: Annotated[int, typer.Option(metavar="N", help="The server's port.")] = 8765,
) -> int:
    """Run a client and a server, shaped, and show which calls waited.

    Both are processes in a private network namespace, or in two with a router between, so this needs no root and
    disturbs nothing. The wait
    of each system call is explained by held packets: "accept 300.9 ms = SYN held 100.1 + SYN-ACK 100.1 + ACK
    100.1 + 0.6 unexplained".
    """
    from shaper.probe.ends.plan import ProbePlan
    from shaper.probe.ends.workload import load
    from shaper.probe.panel import panel
    from shaper.probe.report import ProbeReport
    from shaper.probe.show import as_json, show
    from shaper.report.figure.write import write
    from shaper.report.output import console, write_json
    from shaper.topology.topology import Topology

    load(workload)
    specs, out = tuple(policy or ()), console(json)
    if server or client is not None:
        if server and client is not None:
            raise UsageError("--server and --client are the two ends; run one of them on each machine")
        if trace:
            raise UsageError("--trace needs both ends; with --server or --client, run `shaper trace` beside it")
        if specs:
            raise UsageError("--policy and --profile need both ends; with --server or --client, use `shaper start`")
        if network != "private":
            raise UsageError("--network needs both ends; --server and --client use the network of this machine")
        role, host = ("server", "0.0.0.0") if server else ("client", client or "")
        runs = play_alone(ProbePlan(workload, host, port, timeout), role, repeat)
    else:
        plan, scenario = ProbePlan(workload, port=port, timeout=timeout), given_scenario(context)
        topology = Topology(network, 1, mtu, offload)
        runs = play_both(plan, specs, scenario, repeat, seed, max_hold, topology, trace, out)
    report = ProbeReport(workload, specs, runs, threshold)
    show(report, out)
    show_traces(runs, out)
    if figure is not None:
        index = report.typical
        shaped = panel(" | ".join(specs) or "not shaped", report.runs[index], report.blockings[index])
        write([shaped], figure, title=f"{workload}: which calls waited, and for which packets")
        out.print(f"figure: {figure}", markup=False)
    write_json(as_json(report), json)
    return int(any(report.failures()))


def show_traces(runs: Sequence[ProbeRun], out: Console) -> None:
    """Print what the kernel's tracer saw of each run that it traced."""
    from shaper.trace.show import show

    for number, run in enumerate(runs, 1):
        if run.trace is not None:
            out.print(f"\nTraced, run {number}:")
            show(run.trace, out)


def play_both(
    plan: ProbePlan,
    specs: tuple[str, ...],
    scenario: Scenario | None,
    repeat: int,
    seed: str,
    max_hold: int,
    topology: Topology,
    traced: bool,
    out: Console,
) -> list[ProbeRun]:
    """Run both ends, in networks of which this process enters the one that is shaped."""
    from dataclasses import replace

    from shaper.probe.ends.run import probe as run
    from shaper.report.progress import shown
    from shaper.spec.load import load_pipeline

    load_pipeline(specs, max_hold)
    if scenario is not None:
        scenario.policies(max_hold)
    topology.enter()
    if topology.ends:
        server = topology.ends[0]
        networks = tuple((end.name, topology.network_of(end.name)) for end in topology.ends)
        plan = replace(plan, host=server.ipv4, networks=networks, match=topology.match)
    runs = run(plan, specs, scenario=scenario, repeat=repeat, seed=seed, max_hold=max_hold, traced=traced)
    # One run alone shows nothing: nobody knows how long it takes.
    return list(shown(runs, "runs", repeat, out if repeat > 1 else None, still=True))


def play_alone(plan: ProbePlan, role: str, repeat: int) -> list[ProbeRun]:
    """Run one end, in the network namespace of this process."""
    import trio

    from shaper.probe.ends.processes import fork, play
    from shaper.probe.ends.run import ProbeRun

    return [ProbeRun(tuple(trio.run(play, ends))) for ends in [fork(plan, (role,)) for _ in range(repeat)]]
