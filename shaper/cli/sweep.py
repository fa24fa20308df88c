"""`shaper sweep`: a program under many conditions, and how its times depend on them."""

from __future__ import annotations

import shlex
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shaper.cli.options import FigureFile, Json, Seed, duration, policy_names
from shaper.cli.probe import Mtu, workload_names
from shaper.errors import UsageError
from shaper.units import s

if TYPE_CHECKING:
    from shaper.experiment import Executor, Results

EXAMPLES = (
    "shaper sweep --vary delay:time=0..200ms/9 --workload netcat",
    "shaper sweep --vary loss:probability=0,1%,5% -o loss.parquet -- ./test.sh",
    "shaper sweep --vary rate:rate=1mbit..1gbit/7log --server ./serve -- ./put",
    "shaper sweep plan.toml --repeat 20 -o results.parquet",
    "shaper sweep --dask tcp://10.0.0.1:8786 --vary delay:time=0,1s -- ./test.sh",
    "shaper sweep show loss.parquet --figure loss.svg",
)

AnyCommand = Annotated[
    list[str] | None, typer.Argument(metavar="COMMAND", help="The command and its arguments, after --.")
]
PLAN = "shaper.plan"
"""The key of the plan's options in the parser's context."""


def take_plan(context: typer.Context, words: list[str] | None) -> list[str] | None:
    """The callback of PLAN.toml or COMMAND: what a plan says becomes the defaults of the options.

    Returns:
        The command, without the plan's name.
    """
    if not words or context.resilient_parsing:
        return words
    from shaper.experiment import plan

    if not words[0].endswith(plan.SUFFIX):
        return words
    found = plan.read(words[0])
    own = found.pop("command", None)
    if len(words) > 1:
        found.pop("workload", None)  # the command line wins
    if "server" in found:
        found["server"] = shlex.join(found["server"])
    context.default_map = found
    context.meta[PLAN] = own
    return words[1:] or own


AnyWorkload = Annotated[
    str | None,
    typer.Option(
        "--workload",
        metavar="NAME[:option=value,…]",
        help="Run a workload of `shaper probe` instead of a command.",
        autocompletion=workload_names,
    ),
]
Server = Annotated[
    str | None,
    typer.Option(
        metavar="COMMAND",
        help="Start this first in each trial, and the command when something listens; only that one is timed.",
    ),
]
Stays = Annotated[
    list[str] | None,
    typer.Option(
        "--policy",
        "-p",
        metavar="SPEC",
        help="Shape the packets of all trials with this policy, before those that vary; may be repeated.",
        autocompletion=policy_names,
    ),
]
Measure = Annotated[
    list[str] | None,
    typer.Option(
        metavar="REGEX|FILE.json",
        help=r"Also take numbers from the command's output: one for each named group, such as (?P<rps>[\d.]+). "
        "Or take all numbers in a JSON file that the command writes. May be repeated.",
    ),
]
TrialTimeout = Annotated[
    int,
    typer.Option(
        metavar="TIME", parser=duration, show_default=False, help="End a trial after this time. [default: 30s]"
    ),
]
AtOnce = Annotated[
    int,
    typer.Option(
        metavar="N",
        min=1,
        help="Run N trials at the same time, here or on each worker; this makes times less exact.",
    ),
]
Dask = Annotated[
    str | None,
    typer.Option(metavar="ADDRESS", help="Run the trials on the Dask cluster whose scheduler has this address."),
]
ResultFile = Annotated[
    Path | None,
    typer.Option(
        "-o",
        "--output",
        metavar="FILE.parquet",
        help="Write the results to this file; trials that it already has are not run again.",
    ),
]


def sweep(
    context: typer.Context,
    command: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PLAN.toml | COMMAND",
            is_eager=True,
            callback=take_plan,
            help="A file with these options, without their dashes; those given here win. The command and its "
            "arguments, after --.",
        ),
    ] = None,
    vary: Annotated[
        list[str] | None,
        typer.Option(
            metavar="POLICY:OPTION=VALUES",
            help="Vary this option: a,b,c, or LOW..HIGH/N at equal distances, or LOW..HIGH/Nlog at equal ratios. "
            "workload:OPTION=VALUES varies the workload. May be repeated, for all combinations.",
        ),
    ] = None,
    workload: AnyWorkload = None,
    server: Server = None,
    policy: Stays = None,
    repeat: Annotated[int, typer.Option(metavar="N", min=1, help="Run each condition N times.")] = 5,
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
    """Run a program under many conditions; show how it depends on them.

    Each trial has a private network of its own, so this needs no root. The order of the
    conditions is random, once for each repetition. The report has medians, and lines
    through all trials: their slopes with 95 % intervals, and where they bend.
    `shaper sweep show FILE` shows the report of a file again. Ctrl-C ends the sweep and
    keeps what is done.
    """
    from shaper.experiment import results as files
    from shaper.experiment.factors import parse
    from shaper.experiment.figure import draw
    from shaper.experiment.run import run
    from shaper.experiment.sweep import Sweep, SweepReport
    from shaper.report.output import console, write_json

    out = console(json)
    complete = True
    if workload and command and command == context.meta.get(PLAN):
        command = server = None  # those of the plan; the workload is given on the command line
    shown = shown_file(command)
    if shown is not None:
        found = files.read(shown, "sweep")
    else:
        subject = subject_of(command, workload, server, policy, seed, timeout, measure, is_here=dask is None)
        if not vary:
            raise UsageError("Missing option '--vary'; see `shaper sweep --help`")
        plan = Sweep(tuple(parse(text, workload or "") for text in vary), repeat, **subject)
        found = begin(plan.about(), output)
        total = sum(1 for _ in plan.trials())
        executor = execute_where(dask, at_once, mtu)
        complete = run(plan.trials(), found, plan.result, out, total=total, file=output, executor=executor)
        if not complete:
            out.print(f"interrupted: {len(found.of)} of {total} trials are done")
    if not found.of:
        return 1
    report = SweepReport(found)
    report.show(out)
    if figure is not None:
        draw(report, figure)
        out.print(f"figure: {figure}", markup=False)
    write_json(report.as_json(), json)
    return 0 if complete else 130


def shown_file(command: list[str] | None) -> Path | None:
    """The file of `show FILE`; None if the command is another one."""
    if command and len(command) == 2 and command[0] == "show":
        return Path(command[1])
    return None


def execute_where(dask: str | None, at_once: int, mtu: int) -> Executor:
    """What runs the trials: this machine, or the cluster of --dask."""
    from shaper.experiment import execute, execute_on_dask

    if dask is None:
        return partial(execute, at_once=at_once, mtu=mtu)
    return partial(execute_on_dask, address=dask, at_once=at_once, mtu=mtu)


def subject_of(
    command: list[str] | None,
    workload: str | None,
    server: str | None,
    policy: list[str] | None,
    seed: str,
    timeout: int,
    measure: list[str] | None,
    *,
    is_here: bool,
) -> dict[str, Any]:
    """What these options say of a plan: the attributes of `Subject`.

    Args:
        is_here: it runs on this machine, so its programs must be here.

    Raises:
        UsageError: there is nothing to run, or more than one thing; there is no such program or workload; a --measure
            that can't be used.
    """
    from shaper.experiment.measures import sources
    from shaper.linux import programs
    from shaper.probe.ends.workload import load

    if bool(command) == bool(workload):
        raise UsageError("give either a command, after --, or a --workload")
    if workload:
        load(workload)
        if server:
            raise UsageError("a workload has its own server; --server is for a command")
    if command and is_here:
        programs.check(command[0])
    if server and is_here:
        programs.check(shlex.split(server)[0])
    patterns, files = sources(measure or ())
    return {
        "command": tuple(command or ()),
        "workload": workload or "",
        "server": tuple(shlex.split(server or "")),
        "policies": tuple(policy or ()),
        "seed": seed,
        "timeout": timeout,
        "patterns": patterns,
        "files": files,
    }


def begin(about: dict[str, object], output: Path | None) -> Results:
    """The results so far: those in the file, if there is one.

    Raises:
        UsageError: the file can't be used.
    """
    from shaper.experiment import results as files

    found = files.Results(about)
    if output is not None:
        files.check(output)
        found.resume(output)
    return found
