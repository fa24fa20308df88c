"""What the documents tell people to type works, and prints what they say.

A fenced block "```LANGUAGE FILE" is written to that file; then the blocks "```console run" are run in order: one
directory per document, a network namespace per command. In a console block, lines from "$ " on are commands; the lines
below one are what it prints, "…" standing for anything.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from shaper.linux.capabilities import CAP_SYS_ADMIN, can

ROOT = Path(__file__).parents[2]
FENCE = re.compile(r"^```(\w+) ([\w./]+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """A marked block of a document: what follows the language, and its text."""

    mark: str
    text: str


def blocks(document: Path) -> list[Block]:
    return [Block(mark, text) for _, mark, text in FENCE.findall(document.read_text())]


def commands(text: str) -> Iterator[tuple[str, str]]:
    """Each command of a console block with what it is said to print."""
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, output = part.partition("\n")
        yield command, output


def matches(printed: str, said: str) -> bool:
    """Whether this is what was said, line ends and trailing spaces aside."""
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
def test_what_it_says_works(document: Path, tmp_path: Path) -> None:
    if not can(CAP_SYS_ADMIN):
        pytest.skip("its commands need a network namespace, which needs root")
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
                env={**os.environ, "PATH": path, "COLUMNS": "80"},
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
