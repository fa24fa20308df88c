"""Writes the man pages, from what `shaper --help` shows: python -m docs.man FOLDER, or ./dev man

shaper(1) and one page for each command. They are built, not kept: so they can't differ from the commands.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from textwrap import wrap
from typing import Any

from typer.core import TyperGroup
from typer.main import get_command

from shaper import cli

STATUS = (
    "0 if all went well, 1 after a failure, 2 after a mistake in the command line, 130 after Ctrl-C. "
    "`shaper run` and `shaper trace` end with the status of the command that they run."
)
ENVIRONMENT = (
    ("SHAPER_TOKEN", "The token for a shaper that listens at TCP, see `shaper start --token-file`."),
    ("NO_COLOR", "Print without colours, whatever its value is."),
    ("COLUMNS", "The width of what is printed, if that doesn't go to a terminal."),
)
FILES = (
    ("/run/shaper", "The sockets by which other commands reach a shaper that root has started, one for each."),
    ("$XDG_RUNTIME_DIR/shaper", "The same of other users."),
    ("/etc/shaper/NAME.toml", "The profile of the service `shaper@NAME` of the Debian package."),
)
BRACES = str.maketrans("", "", "{}")
"""What typer puts around an argument that must be given."""
PIECE = re.compile(r"(\[)?(.*?)((?(1)\])(?:\.\.\.)?)$")
"""A word of the usage: what may be left out is in brackets, what may be repeated has dots behind it."""
BOLD = re.compile(r"(`[^`]+`|(?<!\w)--[a-z][\w-]*)")


def pages() -> dict[str, str]:
    """Each page by the name of its file, such as shaper-run.1."""
    group = group_of("")
    made = {"shaper.1": "\n".join(_main_page(group)) + "\n"}
    for name in cli.COMMANDS:
        made[f"shaper-{name}.1"] = "\n".join(_page(name)) + "\n"
    return made


def group_of(name: str) -> TyperGroup:
    """The command line with this command in it."""
    group = get_command(cli.application([name] if name else []))
    assert isinstance(group, TyperGroup)
    return group


def _main_page(group: TyperGroup) -> Iterator[str]:
    context = group.make_context("shaper", ["--help"], resilient_parsing=True)
    yield from _head("shaper", (group.help or "").rstrip("."))
    yield from _section("SYNOPSIS", r"\fBshaper\fR [\fIOPTIONS\fR] \fICOMMAND\fR [\fIARGS\fR]...")
    yield from _description(
        "shaper takes packets from the kernel, and lets policies decide when each one goes on, whether it does, and as "
        "what. It shows which system calls that blocks. A policy is a class in a Python file.\n\n"
        "`shaper COMMAND --help` shows the options of a command, and `shaper policies` all policies."
    )
    yield ".SH COMMANDS"
    for heading, commands in cli.GROUPS.items():
        yield f".SS {heading}"
        for name, summary in commands.items():
            yield from _tagged(rf"\fBshaper\-{name}\fR(1)", summary)
    yield from _options(group, context)
    yield ".SH EXIT STATUS"
    yield from _paragraphs(STATUS)
    for title, entries in (("ENVIRONMENT", ENVIRONMENT), ("FILES", FILES)):
        yield f".SH {title}"
        for name, meaning in entries:
            yield from _tagged(rf"\fI{_plain(name)}\fR", meaning)
    yield from _examples(group)
    yield from _section(
        "SEE ALSO", r"\fBtc\-netem\fR(8), \fBiptables\-extensions\fR(8), \fBtcpdump\fR(8), \fBstrace\fR(1)"
    )


def _page(name: str) -> Iterator[str]:
    group = group_of(name)
    command = group.commands[name]
    parent = group.make_context("shaper", ["--help"], resilient_parsing=True)
    context = command.make_context(name, [], parent=parent, resilient_parsing=True)
    summary, _, rest = (command.help or "").partition("\n\n")
    yield from _head(f"shaper-{name}", summary.rstrip("."))
    pieces = [piece.translate(BRACES) for piece in command.collect_usage_pieces(context)]
    words = (
        PIECE.sub(lambda found: rf"{found[1] or ''}\fI{_plain(found[2])}\fR{found[3]}", piece, 1) for piece in pieces
    )
    yield from _section("SYNOPSIS", rf"\fBshaper {name}\fR {' '.join(words)}")
    yield from _description(f"{summary}\n\n{rest}".strip())
    yield from _options(command, context)
    yield from _examples(command)
    beside = [other for commands in cli.GROUPS.values() if name in commands for other in commands if other != name]
    others = ", ".join(rf"\fBshaper\-{other}\fR(1)" for other in beside)
    yield from _section("SEE ALSO", rf"\fBshaper\fR(1), {others}")


def _head(name: str, summary: str) -> Iterator[str]:
    day = time.strftime("%Y-%m-%d", time.gmtime(int(os.environ.get("SOURCE_DATE_EPOCH", time.time()))))
    yield f'.TH {name.upper()} 1 {day} "shaper {version("nfq-shaper")}" "User Commands"'
    yield from (".nh", ".ad l")  # options and commands are never broken at a hyphen
    yield from _section("NAME", rf"{_plain(name)} \- {_text(summary[0].lower() + summary[1:])}")


def _section(title: str, text: str) -> Iterator[str]:
    yield f".SH {title}"
    yield text


def _description(text: str) -> Iterator[str]:
    yield ".SH DESCRIPTION"
    yield from _paragraphs(text)


def _paragraphs(text: str) -> Iterator[str]:
    """Paragraphs, and, after a line with \\b alone, lines that stay as they are."""
    for nth, paragraph in enumerate(text.split("\n\n")):
        if nth:
            yield ".PP"
        if paragraph.startswith("\b\n"):
            yield from (".nf", *(_guarded(_plain(line)) for line in paragraph.splitlines()[1:]), ".fi")
        else:
            yield _text(paragraph)


def _options(command: Any, context: Any) -> Iterator[str]:
    """The arguments and options as the help has them."""
    for title, records in parameters(command, context).items():
        yield f".SH {title.upper()}"
        for names, meaning in records:
            yield from _tagged(_names(names), meaning)


def parameters(command: Any, context: Any) -> dict[str, list[tuple[str, str]]]:
    """The arguments and the options of a command, where it has any, under these titles: names, and what they mean."""
    found: dict[str, list[tuple[str, str]]] = {}
    for kind, title in (("argument", "Arguments"), ("option", "Options")):
        for parameter in command.get_params(context):
            if parameter.param_type_name == kind and (record := parameter.get_help_record(context)):
                names, meaning = record
                if kind == "argument":  # typer also names the type, in Python's words
                    names = names.split(" <")[0].translate(BRACES)
                found.setdefault(title, []).append((names, meaning))
    return found


def _names(text: str) -> str:
    """What stands before an option's meaning: names bold, values italic."""
    return " ".join(
        rf"\fB{_plain(word)}\fR" if word.startswith("-") else rf"\fI{_plain(word)}\fR" for word in text.split(" ")
    )


def _tagged(tag: str, text: str) -> Iterator[str]:
    yield ".TP"
    yield tag
    yield _text(text)


def _examples(command: Any) -> Iterator[str]:
    lines = (command.epilog or "").splitlines()[2:]
    yield ".SH EXAMPLES"
    # Further left than other text, since they are as long as a line of the help.
    yield from (".nf", ".in 4n", *(_guarded(_plain(line.strip())) for line in lines), ".in", ".fi")


def _text(text: str) -> str:
    """A paragraph, in which what stands in backticks is bold, and so is each option."""
    parts = BOLD.split(" ".join(text.split()))
    written = (rf"\fB{_plain(part.strip('`'))}\fR" if nth % 2 else _plain(part) for nth, part in enumerate(parts))
    lines = wrap("".join(written), 78, break_long_words=False, break_on_hyphens=False)
    return "\n".join(map(_guarded, lines))


def _plain(text: str) -> str:
    """Text without a meaning for roff; a hyphen that can be copied stays one."""
    return (
        text.replace("\\", r"\e").replace("-", r"\-").replace("'", r"\(aq").replace("^", r"\(ha").replace("~", r"\(ti")
    )


def _guarded(line: str) -> str:
    """A line that is no request, whatever it begins with."""
    return rf"\&{line}" if line.startswith((".", "'")) else line


def write(folder: Path) -> None:
    """Write all pages into this folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
