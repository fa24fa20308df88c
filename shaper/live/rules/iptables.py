"""iptables(8) for both families: read the mangle table, change it in one step, explain failures.

Works with either backend, nf_tables or legacy, whichever the system uses.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
from pathlib import Path
from typing import Literal

from shaper.errors import ShaperError
from shaper.linux.capabilities import CAP_NET_ADMIN, can, remedy
from shaper.linux.programs import find
from shaper.verbose import detail

Family = Literal["ipv4", "ipv6"]
COMMANDS: dict[Family, str] = {"ipv4": "iptables", "ipv6": "ip6tables"}


LACKING = (
    (r"initialize nft:|rule set generation id: Invalid argument", "nf_tables", "nf_tables"),
    (r"unable to initialize table 'mangle'", "mangle table", "-a iptable_mangle ip6table_mangle"),
)
"""What iptables says without a module, what that is, and which modules modprobe(8) loads for it."""


class RulesError(ShaperError):
    """iptables refused; the message says why and what to do."""


def families() -> list[Family]:
    """The families that this kernel has; without IPv6 there are no IPv6 rules to set."""
    return ["ipv4", "ipv6"] if Path("/proc/thread-self/net/if_inet6").exists() else ["ipv4"]


def save(family: Family, *, counters: bool = False) -> list[str]:
    """The lines of the mangle table as iptables-save(8) prints them; with `counters`, each rule's too.

    Raises:
        RulesError: iptables is missing, or not permitted.
    """
    return _call(family, "save", "-t", "mangle", *(["-c"] if counters else [])).splitlines()


def restore(family: Family, text: str) -> None:
    """Apply changes to the mangle table, all of them or none, and leave the rest of it alone.

    Args:
        family: whose table.
        text: what iptables-restore(8) reads.

    Raises:
        RulesError: iptables is missing, not permitted, or the kernel lacks what a rule needs.
    """
    _call(family, "restore", "--noflush", "--wait", input=text)


def _call(family: Family, verb: str, *arguments: str, input: str | None = None) -> str:
    program = f"{COMMANDS[family]}-{verb}"
    path = find(program)
    if path is None:
        raise RulesError(f"{program} is not installed: apt install iptables")
    environment = dict(os.environ)
    if not os.access("/run", os.W_OK):
        # In a namespace of an ordinary user iptables-legacy can't open its lock, /run/xtables.lock.
        environment["XTABLES_LOCKFILE"] = "/proc/self/ns/net"
    for line in (input or "").splitlines():
        if line.startswith("-"):
            detail(f"{COMMANDS[family]}: {line}")
    # A process group of its own: Ctrl-C must not end iptables half way through a removal.
    done = subprocess.run(
        [path, *arguments],
        input=input,
        env=environment,
        capture_output=True,
        encoding="utf-8",
        errors="surrogateescape",
        process_group=0,
    )
    if done.returncode:
        raise RulesError(explain(program, done.stderr, done.returncode))
    return done.stdout


def explain(program: str, stderr: str, status: int) -> str:
    """One line for what iptables says in several lines, or, if it says nothing, for how it ended.

    Args:
        program: its name.
        stderr: what it said.
        status: its exit status; -N if signal N ended it.
    """
    if not can(CAP_NET_ADMIN):
        return f"no permission to change packet filter rules; {remedy(CAP_NET_ADMIN)}; `shaper run` needs none"
    missing = re.search(r"Extension (\S+) revision|Couldn't load (?:match|target) [`'](\S+?)'", stderr)
    if missing:
        return f"{program}: this system has no '{missing[1] or missing[2]}' extension; `shaper doctor` says more"
    for said, what, modules in LACKING:
        if re.search(said, stderr):
            return f"{program}: this kernel has no {what} (try `modprobe {modules}`); `shaper doctor` says more"
    lines = [line.strip() for line in stderr.splitlines() if line.strip() and not line.startswith("Try ")]
    reason = re.sub(r"^\S+ v\S+ \(\w+\): ?", "", " ".join(lines))
    if not reason:
        reason = f"a signal ended it: {signal.strsignal(-status)}" if status < 0 else f"it failed with status {status}"
    return f"{program}: {reason}"
