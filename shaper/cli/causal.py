"""`shaper causal`: which packets a program waits for, found by making them late."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from shaper.cli.options import FigureFile, Json, Seed, duration
from shaper.cli.probe import Mtu
from shaper.cli.sweep import (
    AnyCommand,
    AnyWorkload,
    AtOnce,
    Dask,
    Measure,
    ResultFile,
    Server,
    Stays,
    TrialTimeout,
    execute_where,
    shown_file,
    subject_of,
)
from shaper.units import ms, s

if TYPE_CHECKING:
    from shaper.experiment import Executor, Results
    from shaper.experiment.causal import Causal

EXAMPLES = (
    "shaper causal --workload request:rounds=3",
    "shaper causal --server 'python3 -m http.server' -- curl -s 127.0.0.1:8000",
    "shaper causal --split --delay 5ms --figure effects.svg -- ./test.sh",
    "shaper causal --order keep --workload netcat -o netcat.parquet",
    "shaper causal show netcat.parquet --figure effects.svg",
)


def causal(
    command: AnyCommand = None,
    workload: AnyWorkload = None,
    server: Server = None,
    policy: Stays = None,
    delay: Annotated[
        int,
        typer.Option(
            metavar="TIME",
            parser=duration,
            show_default=False,
            help="Packets are late by this and by twice this. [default: 10ms]",
        ),
    ] = 10 * ms,
    order: Annotated[
        Literal["free", "keep"],
        typer.Option(help="Whether other packets overtake a late one, or wait behind it as on a wire."),
    ] = "free",
    split: Annotated[
        bool, typer.Option("--split", help="Tell the data segments of a connection apart by their number.")
    ] = False,
    budget: Annotated[
        int,
        typer.Option(
            metavar="TIME",
            parser=duration,
            show_default=False,
            help="Go on for this long at most, even if the intervals are wide, and as long again with pairs. "
            "[default: 2min]",
        ),
    ] = 120 * s,
    measure: Measure = None,
    timeout: TrialTimeout = 30 * s,
    seed: Seed = "0",
    mtu: Mtu = 1500,
    at_once: AtOnce = 1,
    dask: Dask = None,
    output: ResultFile = None,
    figure: FigureFile = None,
    json: Json = None,
) -> int:
    """Find which packets a program waits for, by making them late.

    Each class of packets is late in some trials, and not in others. A class is a kind of
    packets in one direction of a service's connections, such as "tcp/8000 reply data". Its
    effect is by how many ms the program takes longer for each ms that these packets are late,
    with a 95 % interval. The trials are in random order, and go on until the intervals are
    tight. If all classes together do something else than the sum, pairs are tried. Each trial
    has a private network, so this needs no root. `shaper causal show FILE` shows the report
    of a file again.
    """
    from shaper.experiment import results as files
    from shaper.experiment.causal import Causal
    from shaper.experiment.figure import draw_profile
    from shaper.experiment.profile import Profile, as_json, show
    from shaper.experiment.run import run
    from shaper.report.output import console, write_json

    out = console(json)
    complete = True
    shown = shown_file(command)
    if shown is not None:
        found = files.read(shown, "causal")
    else:
        subject = subject_of(command, workload, server, policy, seed, timeout, measure, is_here=dask is None)
        if output is not None:
            files.check(output)
        plan = Causal(delay, order, split, budget, **subject)
        executor = execute_where(dask, at_once, mtu)
        found = begin(plan, output, executor)
        complete = run(plan.trials(found), found, plan.result, out, file=output, executor=executor)
        if complete and any(each.interacts for each in Profile(found).measures):
            complete = run(plan.pairs(), found, plan.result, out, file=output, executor=executor)
        if not complete:
            out.print(f"interrupted: {len(found.of)} trials are done")
    if not found.of:
        return 1
    profile = Profile(found)
    show(profile, out)
    if figure is not None:
        draw_profile(profile, figure)
        out.print(f"figure: {figure}", markup=False)
    write_json(as_json(profile), json)
    return 0 if complete else 130


def begin(plan: Causal, output: Path | None, executor: Executor) -> Results:
    """Find the classes, or take them and the results so far from the file.

    Raises:
        ShaperError: the command fails even if nothing is late; the file can't be used.
    """
    from shaper.experiment import results as files
    from shaper.experiment.classes import PacketClass

    if output is not None and output.exists():
        before = files.read(output)
        plan.classes = [PacketClass(*each) for each in before.about.get("classes", ())]
        found = files.Results(plan.about())
        found.resume(output)
        return found
    plan.find(executor)
    return files.Results(plan.about())
