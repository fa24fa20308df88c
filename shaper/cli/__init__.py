"""The command `shaper`: one file per command, registered here.

A command is a function that returns its exit status (None is 0). Errors for the user
are raised as `ShaperError`; here they become one line and a status. What takes long to
import, a command imports when it runs, so that `shaper --help` stays quick.
"""

from __future__ import annotations

import inspect
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer
from typer.main import get_command

from shaper.cli import (
    check,
    clean,
    compare,
    doctor,
    netem,
    new,
    policies,
    probe,
    profiles,
    replay,
    report,
    run,
    start,
    trace,
)
from shaper.cli.options import examples, with_bare_json
from shaper.errors import ShaperError, UsageError

EXAMPLES = (
    "sudo shaper start --policy spread_burst",
    "shaper run --policy delay:20ms -- ping -c 3 127.0.0.1",
    "shaper COMMAND --help",
)

app = typer.Typer(
    add_completion=True,
    rich_markup_mode=None,
    epilog=examples(EXAMPLES),
    context_settings={"help_option_names": ["-h", "--help"]},
)


def register(command: Callable[..., int | None], lines: Sequence[str], **settings: Any) -> None:
    """Add a command, whose name is its function's, with examples for its help."""
    # Said outright, since typer would cut it off at the end of the line.
    summary = (inspect.getdoc(command) or "").split("\n\n")[0]
    app.command(epilog=examples(lines), short_help=summary, **settings)(command)


register(start.start, start.EXAMPLES)
register(run.run, run.EXAMPLES, context_settings={"allow_interspersed_args": False})
register(replay.replay, replay.EXAMPLES)
register(policies.policies, policies.EXAMPLES)
register(profiles.profiles, profiles.EXAMPLES)
register(netem.netem, netem.EXAMPLES)
register(new.new, new.EXAMPLES)
register(check.check, check.EXAMPLES)
register(probe.probe, probe.EXAMPLES)
register(compare.compare, compare.EXAMPLES)
register(trace.trace, trace.EXAMPLES, context_settings={"allow_interspersed_args": False})
register(report.report, report.EXAMPLES)
register(doctor.doctor, doctor.EXAMPLES)
register(clean.clean, clean.EXAMPLES)


def print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"shaper {version('shaper')}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def shaper(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=print_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show where an error came from; works with every command.")
    ] = False,
) -> None:
    """Shape network traffic, packet by packet, with policies written in Python."""
    if context.invoked_subcommand is None:
        print(context.get_help())
        raise typer.Exit(2)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status.

    Status 0 is success, 1 a failure, 2 a mistake in the command line, 130 an interrupt by Ctrl-C.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    # What follows "--" is another program's.
    end = given.index("--") if "--" in given else len(given)
    own, others = given[:end], given[end:]
    debug = "--debug" in own
    own = with_bare_json([argument for argument in own if argument != "--debug"])
    try:
        status = get_command(app).main([*own, *others], prog_name="shaper", standalone_mode=False)
        sys.stdout.flush()
        return status or 0
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Nobody reads on; keep the interpreter from failing at that once more when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (ShaperError, typer.TyperException, OSError) as error:
        if debug:
            print(getattr(error, "details", "") or traceback.format_exc(), file=sys.stderr)
        print(f"shaper: {message_of(error)}", file=sys.stderr)
        return status_of(error)


def message_of(error: ShaperError | typer.TyperException | OSError) -> str:
    """One line that says what is wrong and what to do."""
    if isinstance(error, typer.TyperException):
        context = getattr(error, "ctx", None)
        message = error.format_message().rstrip(".")
        if context is not None:
            message += f"; see `{context.command_path} --help`"
    elif isinstance(error, OSError) and error.filename is not None:
        message = f"{error.filename}: {error.strerror}"
    else:
        message = str(error)
    return " ".join(message.split())


def status_of(error: Exception) -> int:
    if isinstance(error, typer.TyperException):
        return error.exit_code
    return 2 if isinstance(error, UsageError) else 1
