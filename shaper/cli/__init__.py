"""The command `shaper`: one file per command, imported when the command is used.

A command is a function that returns its exit status (None is 0). Errors for the user
are raised as `ShaperError`; here they become one line and a status. A command imports
what takes long to import only when it runs, so that its help is quick.
"""

from __future__ import annotations

import errno
import os
import sys
import traceback
from collections.abc import Collection, Sequence
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

from shaper.cli.parsing import DEBUG, QUIET, VERBOSE, Command, without_help, words_to_complete
from shaper.errors import ShaperError
from shaper.report.output import IS_QUIET
from shaper.verbose import IS_VERBOSE

GROUPS = {
    "Shape packets": {
        "start": "Shape live traffic until Ctrl-C, SIGTERM or --duration.",
        "up": "Shape several places at once, as a file says, until Ctrl-C.",
        "run": "Run a command in a private network, and shape its packets.",
        "replay": "Run a capture through policies, in virtual time.",
    },
    "While shaper runs": {
        "status": "Show what a running shaper does: pipeline, counts, lateness.",
        "top": "Watch a running shaper full-screen, and change it with keys.",
        "events": "Show what happens in a running shaper, until it ends or Ctrl-C.",
        "set": "Change options of stages while a shaper runs, without a gap.",
        "replace": "Replace the pipeline of a running shaper, without a gap.",
        "pause": "Let packets pass unshaped until `shaper resume`.",
        "resume": "Shape packets again, after `shaper pause`.",
        "release": "Send all held packets on now, in order of their arrival.",
        "stop": "End a running shaper, and wait until it has ended.",
    },
    "Policies and networks": {
        "policies": "List the policies, or show one with its options.",
        "profiles": "List the profiles of networks to imitate, such as 3g, or show one.",
        "netem": "Translate a tc-netem line into a pipeline of policies.",
        "new": "Write a small policy to start from, with comments and a test.",
        "check": "Test a policy on its own stories and on generated traffic.",
    },
    "Find what waited": {
        "probe": "Run a client and a server, shaped, and show which calls waited.",
        "compare": "Run a workload under several conditions, and show what waited.",
        "trace": "Trace a program, and show which of its calls slept, and why.",
        "report": "Show which calls of a trace slept, and what was to blame.",
    },
    "Experiments": {
        "sweep": "Run a program under many conditions; show how it depends on them.",
        "causal": "Find which packets a program waits for, by making them late.",
        "hunt": "Find the smallest misfortune of its packets that breaks a command.",
    },
    "This machine": {
        "doctor": "Check what shaper lacks on this machine, and how to install it.",
        "clean": "Remove the rules of shapers that died; those of running ones stay.",
    },
}
"""The commands by what they are for, with the first line of each one's help.

It is kept here so that `shaper --help` imports none of them.
"""
COMMANDS = {name: summary for group in GROUPS.values() for name, summary in group.items()}
"""The first lines of all."""
WRAPPERS = ("run", "hunt", "trace")
"""Commands whose arguments, from the first one on, belong to another program."""
EXAMPLES = (
    "sudo shaper start --policy spread_burst",
    "shaper run --policy delay:20ms -- ping -U -c 3 127.0.0.1",
    "shaper help COMMAND",
)
COMPLETION = "_SHAPER_COMPLETE"
"""The environment variable with which a shell asks for completions."""


class Groups(TyperGroup):
    """The command `shaper`, whose help lists the commands by what they are for."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the groups of commands into the help, with all summaries in one column."""
        width = max(map(len, COMMANDS))
        for heading, commands in GROUPS.items():
            with formatter.section(heading):
                formatter.write_dl([(name.ljust(width), summary) for name, summary in commands.items()])


def application(arguments: Sequence[str]) -> typer.Typer:
    """The command line, with the command that these arguments use; the other commands are only listed."""
    first, named = arguments[:1], [argument for argument in arguments if not argument.startswith("-")][:1]
    needed: Collection[str] = named
    if COMPLETION in os.environ:
        needed = words_to_complete(os.environ)
    # These two options take typer 0.2 s, even if they are not given.
    has_options = not first or first != named
    app = typer.Typer(
        cls=Groups,
        add_completion=has_options,
        add_help_option=has_options,
        rich_markup_mode=None,
        epilog=examples(EXAMPLES),
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback(invoke_without_command=True)(shaper)
    for name, summary in COMMANDS.items():
        if name in needed:
            module = import_module(f"shaper.cli.{name}")
            settings = {"allow_interspersed_args": name not in WRAPPERS}
            # Given explicitly, since typer would cut it off at the end of the line.
            app.command(
                name, cls=Command, short_help=summary, epilog=examples(module.EXAMPLES), context_settings=settings
            )(getattr(module, name))
        else:
            app.command(name, short_help=summary)(lambda: None)
    return app


def examples(lines: Sequence[str]) -> str:
    """The end of a command's help."""
    return "\n".join(["\b", "Examples:", *(f"  {line}" for line in lines)])


def print_version(wanted: bool) -> None:
    """The callback of --version.

    Raises:
        typer.Exit: after printing.
    """
    if wanted:
        from importlib.metadata import version
        from importlib.util import find_spec

        core = find_spec("shaper.core.core")
        is_compiled = core is not None and not str(core.origin).endswith(".py")
        print(f"shaper {version('nfq-shaper')}{', its core compiled' if is_compiled else ''}")
        raise typer.Exit


def shaper(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", "-V", callback=print_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[
        bool, typer.Option(DEBUG, help="Show the traceback of an error; works with every command.")
    ] = False,
    quiet: Annotated[
        bool,
        typer.Option(*QUIET, help="Print no reports, nor how far a command is: only errors; works with every command."),
    ] = False,
    verbose: Annotated[
        bool,
        typer.Option(
            VERBOSE,
            help="Print on standard error what is set, started, read and waited for; works with every command.",
        ),
    ] = False,
) -> None:
    """Shape network traffic, packet by packet, with policies written in Python."""
    context.ensure_object(dict)[DEBUG] = debug
    IS_QUIET.set(quiet)
    IS_VERBOSE.set(verbose)
    if context.invoked_subcommand is None:
        print(context.get_help())
        raise typer.Exit(2)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status.

    Status 0 is success, 1 a failure, 2 a mistake in the command line, 130 an interrupt by Ctrl-C.
    """
    given = without_help(sys.argv[1:] if arguments is None else arguments)
    found: dict[str, bool] = {}
    try:
        command = get_command(application(given))
        status = command.main(given, prog_name="shaper", standalone_mode=False, obj=found)
        sys.stdout.flush()
        return status or 0
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader has gone; without this the interpreter would fail again when it flushes at its exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (ShaperError, typer.TyperException, OSError) as error:
        if found.get(DEBUG):
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
        if error.errno == errno.EROFS and str(error.filename).startswith("/proc/sys/"):
            message += "; start the container with `--security-opt unmask=/proc/sys` (podman) or "
            message += "`--security-opt systempaths=unconfined` (docker)"
    elif isinstance(error, FileNotFoundError) and "temporary directory" in str(error):  # as tempfile says it
        message = "no directory for temporary files can be written; start the container with `--tmpfs /tmp`"
    else:
        message = str(error)
    return " ".join(message.split())


def status_of(error: Exception) -> int:
    """The exit status for this error; 1 for one of the system."""
    if isinstance(error, typer.TyperException):
        return error.exit_code
    return error.status if isinstance(error, ShaperError) else 1
