"""`shaper hunt`: the smallest misfortune of its packets that breaks a command."""

from __future__ import annotations

import re
import subprocess
import sys
from json import loads
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shaper.cli.options import Json, Seed, duration, policy_names
from shaper.cli.sweep import shown_file
from shaper.errors import ShaperError, UsageError
from shaper.report.progress import Status
from shaper.units import format_duration, ms, parse_duration, s

if TYPE_CHECKING:
    from shaper.experiment.hunt.plan import Attempt
    from shaper.experiment.hunt.run import Budget

EXAMPLES = (
    "shaper hunt -- ./client-and-server.sh",
    "shaper hunt --budget 10min --fails-if 'booked twice' -- pytest -x tests/net",
    "shaper hunt --budget 200 --seed 7 --timeout 2s -- ./client-and-server.sh",
    "shaper hunt show shaper.jsonl",
)
BUDGET = "5min"
LATE = 300 * ms
PATIENCE = 30 * s
START = 5 * s
"""How long starting to trace, and the report of a traced run, may take beside the run."""
ROOT = Path(__file__).parents[2]
RUN = "import sys; sys.path.append(sys.argv.pop(1)); from shaper.cli import main; sys.exit(main())"
"""As in `shaper.experiment.lab`: shaper isn't searched for in the working directory."""
PHASES = {
    "undisturbed": "undisturbed",
    "known": "found before",
    "single": "single packets",
    "pair": "pairs",
    "random": "at random",
    "again": "does it fail again?",
    "shrink": "shrinking",
    "confirm": "confirming",
}


def hunt(
    command: Annotated[
        list[str],
        typer.Argument(metavar="COMMAND", help="The command and its arguments, after --. It starts all ends itself."),
    ],
    budget: Annotated[
        str, typer.Option(metavar="TIME|N", help="Stop searching after this time, or after N trials.")
    ] = BUDGET,
    fails_if: Annotated[
        str | None,
        typer.Option("--fails-if", metavar="REGEX", help="It fails, too, if this is found in what it prints."),
    ] = None,
    timeout: Annotated[
        int | None,
        typer.Option(
            metavar="TIME",
            parser=duration,
            show_default=False,
            help="It fails, too, if it takes longer than this. [default: 10 times as long as undisturbed, and 3s]",
        ),
    ] = None,
    late: Annotated[
        int,
        typer.Option(
            metavar="TIME",
            parser=duration,
            show_default=False,
            help=f"How long a late packet is held. [default: {format_duration(LATE)}]",
        ),
    ] = LATE,
    policy: Annotated[
        list[str] | None,
        typer.Option(
            "--policy",
            "-p",
            metavar="SPEC",
            help="Each trial has this policy, too; may be repeated.",
            autocompletion=policy_names,
        ),
    ] = None,
    database: Annotated[
        Path, typer.Option(metavar="DIR", help="Where failures are kept; those of the same command are tried first.")
    ] = Path(".shaper/hunt"),
    seed: Seed = "0",
    json: Json = None,
) -> int:
    """Find the smallest misfortune of its packets that breaks a command.

    The command runs in private networks, without root where user namespaces are allowed.
    It must pass when nothing disturbs it. Then each of its packets is dropped, late, sent
    twice, or swapped with the next; then pairs of them; then any at random. When it fails,
    shaper finds the fewest such fates that suffice, repeats them, and prints how to do that
    again. Ctrl-C ends the search. The exit status is 1 if it has failed, else 0.
    `shaper hunt show JOURNAL` lists the packets of a journal by the names that fates have.
    """
    from shaper.experiment import Lab, Trial
    from shaper.experiment.hunt.database import Database
    from shaper.experiment.hunt.plan import Hunt
    from shaper.experiment.hunt.report import arguments, document, last_waits, lines, packets, said
    from shaper.experiment.hunt.run import hunt as search
    from shaper.journal import read_journal
    from shaper.policy.fate import format_fates
    from shaper.report.output import console, write_json

    out = console(json)
    if (shown := shown_file(command)) is not None:
        for line in packets(read_journal(shown, grows=True)[1]):
            out.print(line, soft_wrap=True, highlight=False, markup=False)
        return 0
    trial = Trial(tuple(command), tuple(policy or ()), seed, timeout=max(timeout or 0, PATIENCE))
    kept = Database(database)
    plan = Hunt(seed=seed, known=kept.known(command), late=late)
    with Status(out) as status:

        def trying(attempt: Attempt, trials: int) -> None:
            of = f" of {attempt.of}" if attempt.of else ""
            text = f"trial {trials + 1}, {PHASES[attempt.phase]} {attempt.nth}{of}: {format_fates(attempt.fates)}"
            status.update(text)

        with Lab() as lab:
            hunted = search(
                lab,
                trial,
                plan=plan,
                budget=_budget(budget),
                fails_if=_pattern(fails_if),
                timeout=timeout,
                trying=trying,
            )
    found = hunted.found
    if found is not None and not found.fates:
        text = "\n".join(said(hunted.failing)) if hunted.failing else ""
        out.print(text, soft_wrap=True)
        raise ShaperError(
            f"it fails without any misfortune ({found.failure}, {found.failed} of {found.runs}); make it pass first"
        )
    file = kept.keep(command, found) if found is not None else None
    waits = last_waits(_traced(arguments(hunted.trial, found.fates), hunted.trial.timeout)) if found is not None else ()
    for line in lines(hunted, str(file) if file else None, waits):
        out.print(line, soft_wrap=True)
    write_json(document(hunted), json)
    if found is not None:
        return 1
    return 130 if hunted.end == "interrupted" else 0


def _traced(words: list[str], timeout: int) -> list[dict[str, Any]]:
    """The blockings of the trial once more, traced; none where nothing can be traced.

    Args:
        words: the arguments of `shaper run`.
        timeout: of the trial, in ns.
    """
    with NamedTemporaryFile(suffix=".json") as file:
        run = subprocess.Popen(
            [sys.executable, "-I", "-c", RUN, str(ROOT), "run", "--trace", "--all", f"--json={file.name}", *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            run.wait((timeout + START) / s)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            run.terminate()  # it ends the command, and then writes what has happened
        try:
            run.wait(START / s)
            blockings: list[dict[str, Any]] = loads(file.read())["trace"]["blockings"]
        except (subprocess.TimeoutExpired, KeyboardInterrupt, KeyError, ValueError):
            run.kill()
            return []
        return blockings


def _budget(text: str) -> Budget:
    """The value of --budget.

    Raises:
        UsageError: neither a duration nor a number.
    """
    from shaper.experiment.hunt.run import Budget

    if text.isascii() and text.isdecimal() and len(text) < 10:
        return Budget(trials=int(text))
    try:
        return Budget(time=parse_duration(text))
    except ValueError:
        raise UsageError(f"--budget: '{text}' is neither a time, such as 5min, nor a number of trials") from None


def _pattern(text: str | None) -> re.Pattern[str] | None:
    """The value of --fails-if.

    Raises:
        UsageError: no regular expression.
    """
    try:
        return None if text is None else re.compile(text, re.MULTILINE)
    except re.error as error:
        raise UsageError(f"--fails-if: '{text}' is no regular expression: {error}") from None
