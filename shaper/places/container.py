"""A container of Docker, Podman, containerd or another runtime with a CRI, as their programs know it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from shaper.errors import ShaperError, UsageError
from shaper.linux.programs import find
from shaper.places.place import Found

ENGINES = ("docker", "podman", "nerdctl")
"""Programs that are called alike, and answer alike."""
CRI = "crictl"
"""The program for what Kubernetes runs."""
PATIENCE = 20
"""Seconds for an answer."""


class Known(NamedTuple):
    """A container that a program knows.

    Attributes:
        program: the program's name.
        identity: the container's ID.
        pid: its first process; 0 while it doesn't run.
    """

    program: str
    identity: str
    pid: int


class Container:
    """Fulfils `Place`.

    Args:
        name: its name, its ID, or the beginning of its ID.
    """

    ends = False

    def __init__(self, name: str) -> None:
        self.name, self.label = f"container {name}", name
        self._program: str | None = None  # the one that knew it

    def find(self) -> Found | None:
        """See `Place`."""
        known: list[Known] = []
        answers = []
        for program in (self._program,) if self._program else (*ENGINES, CRI):
            if find(program) is None:
                continue
            try:
                known += _cri(self.label) if program == CRI else _inspected(program, self.label)
            except ShaperError as error:
                answers.append(f"{program}: {error}")
        if not known:
            raise UsageError(f"there is no container '{self.label}' ({'; '.join(answers) or _nobody()})")
        if len(known) > 1:
            names = ", ".join(f"{one.identity[:12]} ({one.program})" for one in known)
            raise UsageError(f"there are {len(known)} containers '{self.label}'; give the ID of one: {names}")
        self._program = known[0].program
        pid = known[0].pid
        # While a container is stopped, some still report the process that it had.
        return Found.at(Path(f"/proc/{pid}/ns/net")) if pid > 0 else None


def _nobody() -> str:
    return f"none of {', '.join((*ENGINES, CRI))} is installed"


def _inspected(program: str, name: str) -> Iterator[Known]:
    for one in asked(program, "inspect", "--type", "container", "--", name):
        yield Known(program, str(one["Id"]), int(one["State"]["Pid"]) if one["State"].get("Running") else 0)


def _cri(name: str) -> Iterator[Known]:
    """Those whose ID begins so, or else whose name it is; of several only those that run."""
    listed = asked(CRI, "ps", "--all", "--output", "json")["containers"]
    found = [one for one in listed if one["id"].startswith(name)]
    found = found or [one for one in listed if one["metadata"]["name"] == name]
    # One that was restarted is another container, beside which the old one stays for a while.
    running = [one for one in found if one["state"] == "CONTAINER_RUNNING"]
    if not found:
        raise ShaperError("no such container")
    for one in running or found[:1]:
        pid = asked(CRI, "inspect", "--output", "json", one["id"])["info"]["pid"] if running else 0
        yield Known(CRI, str(one["id"]), int(pid))


def asked(program: str, *arguments: str) -> Any:
    """What a program answers, from JSON.

    Raises:
        ShaperError: it has no answer; what it says instead, in a line.
    """
    try:
        done = subprocess.run([program, *arguments], capture_output=True, text=True, errors="replace", timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        raise ShaperError(f"no answer within {PATIENCE} s") from None
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        raise ShaperError(lines[-1] if lines else f"status {done.returncode}")
    with suppress(ValueError):
        return json.loads(done.stdout)
    raise ShaperError("an answer that isn't JSON")
