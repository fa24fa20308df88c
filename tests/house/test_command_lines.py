"""Each command line of the documents is one that shaper takes: its commands, options, policies and changes exist.

None of them is run here, so this holds for those, too, that need a container, a cluster or another machine.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shaper import cli
from shaper.cli.parsing import DEBUG, QUIET, VERBOSE
from shaper.experiment.compare.conditions import parse
from shaper.spec.load import builtin_names, load_pipeline
from tests.commands import COMMANDS
from tests.house.test_docs import PAGES, names, write_files

FENCE = re.compile(r"^ *```(\w+) ?([^\n]*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
"""A block with its language, and the mark or the file behind it."""
SPAN = re.compile(r"(?<!`)`([^`]+)`(?!`)")
PROMPT = re.compile(r"^\s*([$#] )?(ExecStart=)?")
COMMENT = re.compile(r"(^|\s)# .*$", re.MULTILINE)
WRAPPER = ("sudo", "env", "exec")
"""Programs that run the one that follows."""


def lines(text: str, *, only_unmarked: bool = False) -> Iterator[str]:
    """The lines of the blocks for a shell, and of units; a line that goes on below is one."""
    for language, mark, block in FENCE.findall(text):
        if language in ("sh", "console", "ini") and not (only_unmarked and mark):
            for line in re.sub(r"\\\n", " ", block).splitlines():
                if language == "sh" or line.startswith(("$ ", "# ", "    shaper ", "ExecStart=")):
                    yield COMMENT.sub("", PROMPT.sub("", line))


def split(line: str) -> Iterator[list[str]]:
    """The commands of a line, without what they read and write."""
    words = shlex.shlex(re.sub(r"\$\([^)]*\)", "1", line), posix=True, punctuation_chars=True)
    words.whitespace_split, words.commenters = True, ""
    command: list[str] = []
    for word in words:
        if not set(word) - set("<>&") and set(word) & set("<>"):
            next(words, None)
        elif not set(word) - set("();|&"):
            yield command
            command = []
        else:
            command.append(word)
    yield command


def invocations(line: str) -> Iterator[list[str]]:
    """What is behind `shaper`, also where another program, such as kubectl, is given it."""
    for command in split(line):
        begins_it = True
        for at, word in enumerate(command):
            known = command[at + 1 : at + 2]
            if Path(word).name == "shaper" and (begins_it or (known and known[0] in COMMANDS)):
                yield command[at + 1 :]
                break
            begins_it &= word in WRAPPER or "=" in word


def written(document: Path) -> list[tuple[str, list[str]]]:
    return [(line, words) for line in lines(document.read_text()) for words in invocations(line)]


def check_specs(parameters: dict[str, Any]) -> None:
    """Load each SPEC among a command's values."""
    given = parameters.get("policy") or []
    load_pipeline([given] if isinstance(given, str) else given)
    for condition in parameters.get("condition") or []:
        parse(condition)


@names(PAGES)
def test_each_is_taken(document: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_files(document, tmp_path)
    monkeypatch.chdir(tmp_path)
    # The shaper that --with names isn't running.
    monkeypatch.setattr("shaper.journal.is_journal", lambda path: True)
    for line, (name, *words) in written(document):
        if name.startswith("-"):
            assert cli.main([name, *words]) == 0, line
            continue
        assert name in COMMANDS, line
        with COMMANDS[name].make_context(name, words) as context:
            check_specs(context.params)


@names(PAGES)
def test_each_within_a_sentence_has_options_that_exist(document: Path) -> None:
    outside = FENCE.sub("", document.read_text())
    for span in SPAN.findall(outside):
        _, *words = span.removeprefix("sudo ").split() if re.match(r"(sudo )?shaper ", span) else ("", "")
        name = words.pop(0)
        if name in (*COMMANDS, "help"):
            ours = words[: words.index("--")] if "--" in words else words
            known = {option for parameter in COMMANDS[name].params for option in parameter.opts} if ours else set()
            assert {word.partition("=")[0] for word in ours if word.startswith("--")} <= known | {
                "--help",
                DEBUG,
                *QUIET,
                VERBOSE,
            }, span


@names(PAGES)
def test_each_policy_within_a_sentence_can_be_used(document: Path) -> None:
    for span in SPAN.findall(FENCE.sub("", document.read_text())):
        name, _, options = span.partition(":")
        # With a range of values it is a factor of a sweep, and without any it stands for all.
        if name in builtin_names() and options and not re.search(r"…|\.\.|=$", options):
            load_pipeline([" ".join(span.split())])
