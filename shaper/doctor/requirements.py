"""What shaper needs on a machine, what is there, and the commands for what is missing.

Everything is tried in a separate network namespace, so the machine's own is not touched.
"""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from shaper.doctor import trial
from shaper.linux import namespace, proc
from shaper.linux.capabilities import CAP_NET_ADMIN, CAP_NET_RAW, CAP_SYS_ADMIN, can, remedy
from shaper.linux.programs import find
from shaper.trace.record.tracefs import obstacle

Status = Literal["ok", "missing", "unknown"]

TUN = "/dev/net/tun"
ENOUGH_BUFFER = 16 * 2**20
"""Bytes; with this buffer a queue's socket lost nothing of a burst of 60 000 small packets."""


@dataclass(frozen=True)
class Requirement:
    """One thing that shaper needs.

    Attributes:
        name: what it is.
        needed_by: the command or option that needs it; "start" stands for every live command.
        status: "unknown" if it could not be tried.
        found: what is there, or what is wrong.
        mend: the command that fixes it, or what to do; empty if it is there.
    """

    name: str
    needed_by: str
    status: Status
    found: str
    mend: str = ""


def requirements() -> Iterator[Requirement]:
    """All requirements, as this process finds them."""
    outcomes = trial.in_child(trial.kernel)
    root = can(CAP_NET_ADMIN)
    yield _of("Python", "start", True, platform.python_version())
    yield _iptables("iptables", "start")
    yield _iptables("ip6tables", "start")
    modules = "sudo modprobe -a nfnetlink_queue xt_NFQUEUE xt_comment xt_mark"
    yield _tried("kernel queue", "start", outcomes, "queue", "iptables", modules)
    for name, capability in (("CAP_NET_ADMIN", CAP_NET_ADMIN), ("CAP_NET_RAW", CAP_NET_RAW)):
        there = can(capability)
        mend = f"{remedy(capability)}; `shaper run` needs neither"
        yield _of(name, "start", there, "held" if there else "not held", mend)
    yield _user_namespaces()
    yield _socket_buffer(root)
    yield _tried("xt_bpf", "--filter", outcomes, "bpf", "iptables", "sudo modprobe xt_bpf")
    yield _program("tcpdump", "--filter", "tcpdump")
    yield _tracing()
    yield _program("ip", "--network", "iproute2")
    yield _way_out()
    yield _program("tc", "compare", "iproute2")
    yield _tried("netem", "compare", outcomes, "netem", "tc", "sudo modprobe sch_netem")


def _of(name: str, needed_by: str, there: bool, found: str, mend: str = "") -> Requirement:
    return Requirement(name, needed_by, "ok" if there else "missing", found, "" if there else mend)


def _tried(name: str, needed_by: str, outcomes: trial.Outcomes, what: str, program: str, mend: str) -> Requirement:
    """What was tried with this program, in a network namespace, if there were both."""
    if what in outcomes:
        return _of(name, needed_by, not outcomes[what], outcomes[what] or "works", mend)
    if outcomes.get("namespace") == "":
        then = f"install {program}, then run `shaper doctor` again"
        return Requirement(name, needed_by, "unknown", f"can't be tried without {program}", then)
    return Requirement(name, needed_by, "unknown", "can't be tried without a network namespace", "sudo shaper doctor")


def _iptables(command: str, needed_by: str) -> Requirement:
    """Its version and backend; both of its tools that shaper calls must be there."""
    if not all(find(f"{command}-{verb}") for verb in ("save", "restore")):
        return _of(command, needed_by, False, "not installed", "sudo apt install iptables")
    said = subprocess.run(
        [str(find(command)), "--version"], capture_output=True, encoding="utf-8", errors="replace"
    ).stdout
    return _of(command, needed_by, True, said.strip().removeprefix(f"{command} "))


def _program(name: str, needed_by: str, package: str) -> Requirement:
    path = find(name)
    return _of(name, needed_by, path is not None, path or "not installed", f"sudo apt install {package}")


def _user_namespaces() -> Requirement:
    # A setting alone decides nothing: a profile of AppArmor may allow what it forbids to others.
    fault, mend = trial.in_child(trial.user_namespace)["namespace"], namespace.remedy()
    found = "allowed" if not fault else "switched off" if mend else fault
    return _of("user namespaces", "run", not fault, found, mend or remedy(CAP_SYS_ADMIN))


def _socket_buffer(root: bool) -> Requirement:
    limit = int(Path("/proc/sys/net/core/rmem_max").read_text())
    found = f"{limit} bytes at most" + (", root may exceed it" if root else "")
    return _of(
        "socket buffer", "run", root or limit >= ENOUGH_BUFFER, found, f"sudo sysctl net.core.rmem_max={ENOUGH_BUFFER}"
    )


def _way_out() -> Requirement:
    program = find("pasta") or find("slirp4netns")
    if program is None:
        return _program("pasta", "--network", "passt")
    there = os.access(TUN, os.R_OK | os.W_OK)
    return _of("pasta", "--network", there, program if there else f"no permission for {TUN}", f"sudo chmod 666 {TUN}")


def _tracing() -> Requirement:
    """What `shaper trace` itself would use: tracefs, mounted or not, else strace."""
    name, needed_by = "tracefs or strace", "trace"
    why = obstacle()
    if why is None:
        where = ", also in this PID namespace" if proc.in_pid_namespace() else ""
        return _of(name, needed_by, True, f"tracefs works{where}")
    if find("strace"):
        return _of(name, needed_by, True, f"strace, which can't show what woke each call; {why}")
    return _of(name, needed_by, False, why, "sudo apt install strace")
