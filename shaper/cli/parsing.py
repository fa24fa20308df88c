"""How the words of a command line are read, where typer's own way would drop or take some of them silently."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping, Sequence
from typing import Any

from typer.core import TyperCommand, TyperOption

from shaper.errors import UsageError
from shaper.report.output import IS_QUIET, STDOUT
from shaper.verbose import IS_VERBOSE

DEBUG = "--debug"
"""An option of every command; also the key, in the parser's `obj`, for whether it was given."""
QUIET = ("--quiet", "-q")
"""Options of every command, too."""
VERBOSE = "--verbose"
"""One more."""
JSON = "--json"
"""The option with an optional value: alone it means standard output, and `--json=FILE` a file."""


HELP = "help"
"""`shaper help run` is `shaper run --help`."""


def without_help(words: Sequence[str]) -> list[str]:
    """The words of the command line, with `--help` behind the command if they begin with `help`."""
    return [*words[1:2], "--help"] if words[:1] == [HELP] else list(words)


def words_to_complete(environment: MutableMapping[str, str]) -> list[str]:
    """The words of the line that a shell completes, which typer then reads from the environment.

    What follows `shaper help` is completed as if it followed `shaper`. If bash asks for a colon, the word to complete
    is the empty one behind it.
    """
    words, at = environment.get("COMP_WORDS", "").split("\n"), int(environment.get("COMP_CWORD", 0))
    if words[1:2] == [HELP] and at > 1:
        del words[1]
        at -= 1
        environment["COMP_WORDS"] = "\n".join(words)
    if words[at : at + 1] == [":"]:
        at += 1
    environment["COMP_CWORD"] = str(at)
    # This is what zsh and fish give.
    others = environment.get("_TYPER_COMPLETE_ARGS", "").split(" ")
    if others[1:2] == [HELP] and len(others) > 2:
        del others[1]
        environment["_TYPER_COMPLETE_ARGS"] = " ".join(others)
    return [*" ".join(words).split(" "), *others]


class Command(TyperCommand):
    """A command that takes each option once, unless it is a list."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the words of this command.

        Raises:
            UsageError: an option that is no list is given more than once.
            TyperException: typer's own errors, such as an unknown option.
        """
        words, given = list(args), set()
        for at, option in reversed(list(self._options(ctx, args))):
            if args[at] == DEBUG:
                ctx.ensure_object(dict)[DEBUG] = True
                del words[at]
            elif args[at] in QUIET:
                IS_QUIET.set(True)
                del words[at]
            elif args[at] == VERBOSE:
                IS_VERBOSE.set(True)
                del words[at]
            elif args[at] == JSON:
                words[at] = f"{JSON}={STDOUT}"
            if option is None or option.multiple:
                continue
            if option in given and not ctx.resilient_parsing:
                raise UsageError(f"{option.opts[0]} can be given only once; see `{ctx.command_path} --help`")
            given.add(option)
        return super().parse_args(ctx, words)

    def _options(self, ctx: Any, args: Sequence[str]) -> Iterator[tuple[int, TyperOption | None]]:
        """The places of this command's options, each with typer's object for it; None for one that typer doesn't have.

        What follows belongs to the program that the command runs.
        """
        options = [parameter for parameter in self.get_params(ctx) if isinstance(parameter, TyperOption)]
        known = {name: option for option in options for name in option.opts}
        words = iter(enumerate(args))
        for at, word in words:
            if word == "--":
                return
            if word.startswith("-"):
                option = known.get(word.partition("=")[0]) or known.get(word[:2])
                yield at, option
                if option and word in known and word != JSON and not option.is_flag:
                    next(words, None)  # its value
            elif not ctx.allow_interspersed_args:
                return
