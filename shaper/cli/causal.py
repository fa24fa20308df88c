"""`shaper causal`: which packets a program waits for, found by making them late."""

from __future__ import annotations

from itertools import chain
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
    from rich.console import Console

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
            help="Go on for this long at most, even if the intervals are wide; as long again with pairs, and with "
            "more delays for packets that are not linear. [default: 2min]",
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
    tight. If all classes together do something else than the sum, pairs are tried; a class that
    is not linear is tried with more delays. Each trial has a private network, so this needs no
    root; only root may trace the command, which predicts the effects. `shaper causal show FILE`
    shows the report of a file again.
    """
    from shaper.experiment import results as files
    from shaper.experiment.causal import Causal
    from shaper.experiment.figure import draw_profile
    from shaper.experiment.profile import Profile, as_json, show
    from shaper.experiment.run import run
    from shaper.report.output import console, write_json

    out = console(json)
    complete, unpredicted = True, ""
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
        unpredicted = "commands on a cluster are not traced" if command and dask else predict(plan, found, out, mtu)
        trials = chain(plan.trials(found), plan.curves(found), plan.pairs(found))
        complete = run(trials, found, plan.result, out, most=budget / s, file=output, executor=executor)
        if not complete:
            out.print(f"interrupted: {len(found.of)} trials are done")
    if not found.of:
        return 1
    profile = Profile(found, unpredicted)
    show(profile, out)
    if figure is not None:
        draw_profile(profile, figure)
        out.print(f"figure: {figure}", markup=False)
    write_json(as_json(profile), json)
    return 0 if complete else 130


def predict(plan: Causal, found: Results, out: Console, mtu: int) -> str:
    """Run the trials that predict the effects, on this machine; returns why there is no prediction, or ""."""
    from functools import partial
    from tempfile import TemporaryDirectory

    from shaper.errors import ShaperError
    from shaper.experiment import execute
    from shaper.experiment.causal import PREDICTIONS
    from shaper.experiment.profile import PREDICTION_BLOCK
    from shaper.experiment.run import run
    from shaper.trace.record.tracefs import obstacle

    if plan.command and (why := obstacle()) is not None:
        return why
    before = sum(result.block == PREDICTION_BLOCK for result in found.of)
    if before < len(plan.classes):
        total, executor = PREDICTIONS * len(plan.classes), partial(execute, mtu=mtu)
        try:
            with TemporaryDirectory(prefix="shaper-") as traces:
                if not run(plan.predictions(Path(traces)), found, plan.result, out, total=total, executor=executor):
                    raise KeyboardInterrupt
        except ShaperError as error:
            return str(error)
    is_there = any(result.measures for result in found.of if result.block == PREDICTION_BLOCK)
    return "" if is_there else "the command fails if all packets are late"


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
