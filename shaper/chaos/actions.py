"""The actions of the Chaos Toolkit extension.

`name` is that of a shaper, or the URL of its `--listen`; it isn't needed if only one is running. `secrets` may have the
`token` for a URL.
"""

import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from tempfile import TemporaryFile
from typing import Any

from shaper.chaos.access import Secrets, client, status_of
from shaper.control.client import Client
from shaper.control.listen import find
from shaper.errors import ShaperError, UsageError
from shaper.units import parse_duration, s

__all__ = ["change", "pause", "release", "replace", "resume", "scenario", "start", "stop"]

PATIENCE = 30.0
"""Seconds that a shaper may take until it shapes."""
PERIOD = 0.02
"""Seconds between two looks whether it does."""


def start(name: str, policies: list[str], options: dict[str, Any] | None = None) -> dict[str, Any]:
    """Start a shaper that runs until it is stopped; returns its status once it shapes.

    Args:
        name: what it is called.
        policies: their SPECs.
        options: those of `shaper start`, without the dashes: {"interface": "eth0", "port": 443, "gso": true}. A list
            repeats one. With "duration", it ends by itself, whatever becomes of the experiment.

    Raises:
        ShaperError: it can't be started; the line is its own.
    """
    command = [sys.executable, "-P", "-m", "shaper", "start", f"--name={name}", *_arguments(options or {})]
    for policy in policies:
        command.append(f"--policy={policy}")
    with TemporaryFile() as said:
        # In a session of its own: it goes on when the experiment's terminal is closed.
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=said, start_new_session=True
        )
        deadline = time.monotonic() + PATIENCE
        while process.poll() is None and time.monotonic() < deadline:
            with suppress(ShaperError):
                status = Client(name).status()
                # It answers before its rules are installed.
                if status["pid"] == process.pid and status["started"]:
                    return status
            time.sleep(PERIOD)
        if process.poll() is None:
            process.terminate()
            raise ShaperError(f"shaper '{name}' doesn't shape after {PATIENCE:g} s")
        said.seek(0)
        lines = said.read().decode(errors="replace").strip().splitlines()
    raise ShaperError(lines[-1].removeprefix("shaper: ") if lines else f"it ended with status {process.returncode}")


def change(
    stage: str, options: dict[str, str], name: str | None = None, secrets: Secrets | None = None
) -> dict[str, Any]:
    """Change options of a stage, such as {"time": "50ms"} of `delay`; returns the stage."""
    return client(name, secrets).set(stage, options)


def replace(policies: list[str], name: str | None = None, secrets: Secrets | None = None) -> list[dict[str, Any]]:
    """Replace the pipeline, at once and as a whole; returns its stages."""
    return client(name, secrets).replace(policies)


def pause(name: str | None = None, secrets: Secrets | None = None) -> dict[str, Any]:
    """Let packets pass at once, behind those of their flow that are held; returns the status."""
    return client(name, secrets).pause()


def resume(name: str | None = None, secrets: Secrets | None = None) -> dict[str, Any]:
    """Shape again; returns the status."""
    return client(name, secrets).resume()


def release(name: str | None = None, secrets: Secrets | None = None) -> dict[str, Any]:
    """Send all held packets on now; returns the status."""
    return client(name, secrets).release()


def scenario(
    phases: list[dict[str, Any]], name: str | None = None, secrets: Secrets | None = None
) -> list[dict[str, Any]]:
    """Replace the pipeline again and again; returns the last one's stages when it is in force.

    Args:
        phases: in order, each with "policies", and all but the last one with "for", such as "10s". The last one stays.

    Raises:
        UsageError: a phase lacks one of them, or a policy can't be used. Then nothing has changed, or no more.
    """
    for nth, phase in enumerate(phases, 1):
        if not {"policies"} <= phase.keys() <= {"policies", "for"} or ("for" not in phase) != (nth == len(phases)):
            raise UsageError(f"phase {nth}: give 'policies', and 'for', such as '10s', in all phases but the last one")
    durations = [parse_duration(str(phase["for"])) / s for phase in phases[:-1]]
    shaper = client(name, secrets)
    stages: list[dict[str, Any]] = []
    for phase, duration in zip(phases, [*durations, 0], strict=True):
        stages = shaper.replace(phase["policies"])
        time.sleep(duration)
    return stages


def stop(name: str, secrets: Secrets | None = None) -> dict[str, Any] | None:
    """End a shaper, and wait until it has ended: held packets go on, and its rules are removed.

    If none of this name is running, there is nothing to do, so that it can be a rollback.

    Returns:
        Its status at that time; None if there is none.
    """
    if "/" not in name and find(name) is None:
        return None
    shaper = client(name, secrets)
    status = status_of(shaper)
    shaper.end()
    return status


def _arguments(options: Mapping[str, Any]) -> list[str]:
    """The command line for these options."""
    arguments: list[str] = []
    for option, given in options.items():
        flag = f"--{option.lstrip('-').replace('_', '-')}"
        for value in given if isinstance(given, Sequence) and not isinstance(given, str) else [given]:
            if value is not False and value is not None:
                arguments.append(flag if value is True else f"{flag}={value}")
    return arguments
