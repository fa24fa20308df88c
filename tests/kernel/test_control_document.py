"""The commands of docs/control.md work while a shaper runs as the document starts it, and print what it says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from shaper.control.client import Client
from tests.house.test_docs import ROOT, blocks, commands, matches

DOCUMENT = ROOT / "docs" / "control.md"
BOUNDARY = "--- next ---"


def test_the_session_of_the_document_works(namespaces: None, tmp_path: Path) -> None:
    marked = blocks(DOCUMENT)
    (start,) = (command for block in marked if block.mark == "start" for command, _ in commands(block.text))
    session = [pair for block in marked if block.mark == "session" for pair in commands(block.text)]
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "sudo").write_text('#!/bin/sh\nexec "$@"\n')
    (programs / "sudo").chmod(0o755)
    lines = ["mount -t tmpfs none /run", "ip link set lo up", f"{start} >started & shaper=$!"]
    lines += ["until grep -q ^controlled started; do sleep 0.05; done"]
    for command, _ in session:
        lines += [command, f"echo; echo '{BOUNDARY}'"]
    lines += ["sudo shaper stop >stopped", "wait $shaper"]
    done = subprocess.run(
        ["unshare", "-nm", "sh", "-ec", "\n".join(lines)],
        cwd=tmp_path,
        env={
            **os.environ,
            "PATH": f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "COLUMNS": "80",
            "XDG_RUNTIME_DIR": "",
        },
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    printed = done.stdout.split(f"{BOUNDARY}\n")
    for (command, said), text in zip(session, printed, strict=False):
        # A line of the document may be the first of several. Python 3.13 has RFC 9110's phrase for 422, older ones not.
        text = text.replace("Unprocessable Entity", "Unprocessable Content")
        assert matches(text, said if said.endswith("…\n") else f"{said}…" if said else ""), (
            f"$ {command}\n{text}\n{said}"
        )


def test_its_python_is_valid() -> None:
    (source,) = (block.text for block in blocks(DOCUMENT) if block.mark == "watch.py")
    compile(source, "watch.py", "exec")
    assert all(hasattr(Client, name) for name in ("set", "status", "events"))
