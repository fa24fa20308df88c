"""The commands in the documents work, and print what the documents say; the links lead somewhere.

A fenced block "```LANGUAGE FILE" is written to that file. Then the blocks "```console run" are run in their order, with
one directory for each document and one network namespace for each command. In a console block, a line that begins with
"$ " is a command. The lines below it are its output, in which "…" stands for anything.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
FENCE = re.compile(r"^```(\w+) ([\w./]+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """A marked block of a document: the word after the language, and the text."""

    mark: str
    text: str


def blocks(document: Path) -> list[Block]:
    return [Block(mark, text) for _, mark, text in FENCE.findall(document.read_text())]


def commands(text: str) -> Iterator[tuple[str, str]]:
    """Each command of a console block, with the output that the document shows."""
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, output = part.partition("\n")
        yield command, output


def matches(printed: str, said: str) -> bool:
    """Whether the output is the one shown; line ends and trailing spaces make no difference."""
    pattern = ".*".join(re.escape(piece.strip("\n")) for piece in said.split("…"))
    return re.fullmatch(rf"\s*{pattern}\s*", printed, re.DOTALL) is not None


DOCUMENTS = [
    path
    for path in (
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        ROOT / "iptables" / "README.md",
        *(ROOT / "docs").glob("*.md"),
    )
    if any(block.mark == "run" for block in blocks(path))
]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_commands_of_a_document_work(document: Path, namespaces: None, tmp_path: Path) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    # The test is root already, and a fresh machine may have no sudo.
    (programs / "sudo").write_text('#!/bin/sh\nexec "$@"\n')
    (programs / "sudo").chmod(0o755)
    folder = tmp_path / "folder"
    folder.mkdir()
    path = f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    for block in blocks(document):
        if block.mark != "run":
            (folder / block.mark).write_text(block.text)
    for block in blocks(document):
        for command, said in commands(block.text) if block.mark == "run" else ():
            done = subprocess.run(
                ["unshare", "-n", "sh", "-ec", f"ip link set lo up\n{command}"],
                cwd=folder,
                env={**os.environ, "PATH": path, "COLUMNS": "80", "PYTEST_ADDOPTS": ""},
                capture_output=True,
                text=True,
                timeout=60,
            )
            assert done.returncode == 0, f"$ {command}\n{done.stdout}{done.stderr}"
            assert matches(done.stdout, said), f"$ {command}\n{done.stdout}\ninstead of\n{said}"


@pytest.mark.parametrize(
    "document",
    [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md"), ROOT / "iptables/README.md"],
    ids=lambda path: path.name,
)
def test_links_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text()):
        assert (document.parent / target).exists(), f"{document.name} links to {target}"
