"""The commands in the documents work, and print what the documents say; the links lead somewhere.

A fenced block "```LANGUAGE FILE" is written to that file. Then the blocks "```console run" are run in their order, with
one directory for each document and one network namespace for each command. For a page of examples/, the directory is a
copy of its folder. In a console block, a line that begins with "$ " is a command, with the next line if it ends in a
backslash. The lines below it are its output, in which "…" stands for anything: standard output alone, or with what is
on standard error behind it. In a block "```console once", `shaper compare` tries each condition once.

The last command of a block "```console start" is a shaper that runs while those of the blocks "```console session" are
run, in the same namespace; what would take ten seconds takes one. A command of a block "```console beside" runs until
that shaper is stopped, at the end. Those of "```console after" are run then.

What can't be run is in test_command_lines.py.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from shaper.trace.record.tracefs import obstacle

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "iptables/README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "examples").rglob("*.md")),
]
MARKS = ("run", "once", "start", "session", "beside", "after")
"""What is behind the language, if it is no file."""
BOUNDARY = "--- next ---"
ONLY_SHAPER = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": "-p shaper"}
"""pytest loads no plugin but shaper's: the others of the development environment take it a second and a half. That it
finds shaper's by itself is tested with the test that a hunt prints."""
STAND_INS = {
    # The test is root already, and a fresh machine may have no sudo.
    "sudo": 'exec "$@"',
    "pidof": 'sleep 60 >/dev/null & echo $! | tee "$1.pid"',
    "iperf3": 'case $1 in -s) exec nc -l "$3" ;; *) until nc -N "$2" "$4" </dev/null; do sleep 0.05; done ;; esac',
}
"""Programs that the tests put in the place of others: what they run."""
FENCE = re.compile(r"^```(\w+) ([\w./-]+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """A marked block of a document: the word after the language, and the text."""

    mark: str
    text: str


def blocks(document: Path) -> list[Block]:
    return [Block(mark, text) for _, mark, text in FENCE.findall(document.read_text())]


def commands(text: str) -> Iterator[tuple[str, str]]:
    """Each command of a console block, with the output that the document shows."""
    for part in re.split(r"^\$ ", text.replace("\\\n", ""), flags=re.MULTILINE)[1:]:
        command, _, output = part.partition("\n")
        yield command, output


def matches(printed: str, said: str) -> bool:
    """Whether the output is the one shown; line ends and trailing spaces make no difference."""
    pattern = ".*".join(re.escape(piece.strip("\n")) for piece in said.split("…"))
    return re.fullmatch(rf"\s*{pattern}\s*", printed, re.DOTALL) is not None


def marked(document: Path, *marks: str) -> list[tuple[str, str]]:
    """The commands of all blocks with one of these marks, each with the output that the document shows."""
    found: list[tuple[str, str]] = []
    for block in blocks(document):
        if block.mark in marks:
            text = (
                block.text.replace("shaper compare", "shaper compare --repeat 1")
                if block.mark == "once"
                else block.text
            )
            found += commands(text)
    return found


def having(mark: str) -> list[Path]:
    """The documents that have a block with this mark."""
    return [path for path in PAGES if any(block.mark == mark for block in blocks(path))]


def write_files(document: Path, folder: Path) -> None:
    """Write the files of a document, and those beside it if it is an example."""
    if ROOT / "examples" in document.parents:
        shutil.copytree(document.parent, folder, dirs_exist_ok=True)
    for block in blocks(document):
        if block.mark not in MARKS:
            (folder / block.mark).write_text(block.text)
            (folder / block.mark).chmod(0o755)


@pytest.fixture
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Has the files of the document."""
    made = tmp_path / "folder"
    made.mkdir()
    write_files(request.getfixturevalue("document"), made)
    return made


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """With the stand-ins for other programs."""
    programs = tmp_path / "programs"
    programs.mkdir()
    for name, does in STAND_INS.items():
        (programs / name).write_text(f"#!/bin/sh\n{does}\n")
        (programs / name).chmod(0o755)
    path = f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    ours = {"PATH": path, "COLUMNS": "80", "PYTHONUNBUFFERED": "1", "XDG_RUNTIME_DIR": ""}
    return {**os.environ, **ours, **ONLY_SHAPER}


def names(documents: list[Path]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("document", documents, ids=lambda path: str(path.relative_to(ROOT)))


@names(having("run"))
def test_the_commands_of_a_document_work(
    document: Path, folder: Path, environment: dict[str, str], namespaces: None
) -> None:
    to_run = marked(document, "run", "once")
    why = obstacle() if any(" --trace " in command for command, _ in to_run) else None
    if why is not None:
        pytest.skip(why)
    for command, said in to_run:
        done = subprocess.run(
            ["unshare", "-n", "sh", "-ec", f"ip link set lo up\n{command}"],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, f"$ {command}\n{done.stdout}{done.stderr}"
        is_right = any(matches(output, said) for output in (done.stdout, done.stdout + done.stderr))
        assert is_right, f"$ {command}\n{done.stdout}{done.stderr}\ninstead of\n{said}"


@names(having("start"))
def test_the_session_of_a_document_works(
    document: Path, folder: Path, environment: dict[str, str], namespaces: None
) -> None:
    *before, (start, announced) = marked(document, "start")
    session, beside = marked(document, "session"), marked(document, "beside")
    why = obstacle() if any("shaper trace --pid" in command for command, _ in session) else None
    if why is not None:
        pytest.skip(why)
    lines = ["mount -t tmpfs none /run", "ip link set lo up", *(command for command, _ in before)]
    lines += [
        "trap 'kill $shaper $(cat *.pid) 2>kill.log || true' EXIT",
        f"{start} >started & shaper=$!",
        "until grep -q ^shaping started; do kill -0 $shaper; sleep 0.05; done",
    ]
    for command, _ in session:
        lines += [command.replace("--duration 10s", "--duration 1s"), f"echo; echo '{BOUNDARY}'"]
    for command, _ in beside:
        lines += [f"{command} >beside & beside=$!", "until [ -s beside ]; do kill -0 $beside; sleep 0.05; done"]
    lines += ["sudo shaper stop >stopped", "wait $shaper", "wait $beside"]
    lines += [command for command, _ in marked(document, "after")]
    done = subprocess.run(
        ["unshare", "-nm", "sh", "-ec", "\n".join(lines)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    printed = [*done.stdout.split(f"{BOUNDARY}\n")[:-1], *((folder / "beside").read_text() for _ in beside)]
    started = ((start, announced), (folder / "started").read_text())
    for (command, said), text in (started, *zip([*session, *beside], printed, strict=True)):
        # A line of the document may be the first of several. Python 3.13 has RFC 9110's phrase for 422, older ones not.
        text = text.replace("Unprocessable Entity", "Unprocessable Content")
        assert matches(text, said if said.endswith("…\n") else f"{said}…" if said else ""), (
            f"$ {command}\n{text}\n{said}"
        )


@names(PAGES)
def test_links_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text()):
        assert (document.parent / target).exists(), f"{document.name} links to {target}"
