"""What this process may do: its capabilities, see capabilities(7), and how it gives up those that it doesn't need.

An engine runs other people's policies on other people's packets. Once it is set up, shaping needs CAP_NET_ADMIN and
nothing else: the kernel asks for it with every verdict. Sockets and files are open by then, and the guardian, which
runs no policy, changes the rules.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

from shaper.linux import proc
from shaper.linux.libc import capset, prctl
from shaper.verbose import detail

# linux/capability.h
CAP_NET_ADMIN = 12
CAP_NET_RAW = 13
CAP_SYS_PTRACE = 19
CAP_SYS_ADMIN = 21
CAP_SYS_NICE = 23
CAP_SYS_RESOURCE = 24
NAMES = {
    CAP_NET_ADMIN: "NET_ADMIN",
    CAP_NET_RAW: "NET_RAW",
    CAP_SYS_PTRACE: "SYS_PTRACE",
    CAP_SYS_ADMIN: "SYS_ADMIN",
    CAP_SYS_NICE: "SYS_NICE",
}

# linux/prctl.h
PR_SET_KEEPCAPS, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT = 8, 24, 38, 47
PR_CAP_AMBIENT_RAISE = 2

NOBODY = 65534


def can(capability: int) -> bool:
    """Whether this process has this capability in its own user namespace."""
    return bool(int(proc.status("CapEff"), 16) >> capability & 1)


def take() -> None:
    """Have all capabilities that this process may have, and let the programs that it starts have them, too.

    Otherwise file capabilities without the effective bit only permit them. With that bit, the program could not even be
    started in a container that lacks one, see capabilities(7).
    """
    permitted = int(proc.status("CapPrm"), 16)
    if not permitted & ~int(proc.status("CapEff"), 16):
        return
    capset(permitted)
    for capability in range(permitted.bit_length()):
        if permitted >> capability & 1:
            prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability)


def give_up(capability: int) -> None:
    """Be without this capability from now on."""
    capset(int(proc.status("CapPrm"), 16) & ~(1 << capability))


def in_user_namespace() -> bool:
    """Whether this process is in a user namespace, where root is so over part of the machine only."""
    return Path("/proc/self/uid_map").read_text().split() != ["0", "0", "4294967295"]


def is_filtered() -> bool:
    """Whether system calls are forbidden to this process, as a container's seccomp profile does."""
    return proc.status("Seccomp") == "2"  # SECCOMP_MODE_FILTER, see proc(5)


def remedy(*needed: int) -> str:
    """What to do when the kernel refuses what needs these capabilities."""
    if os.geteuid() != 0 and not int(proc.status("CapEff"), 16):
        return "run as root"
    lacking = [NAMES[capability] for capability in needed if not can(capability)]
    if lacking:
        who, names = "root" if os.geteuid() == 0 else "this user", " and ".join(f"CAP_{name}" for name in lacking)
        options = " ".join(f"--cap-add {name}" for name in lacking)
        return f"{who} lacks {names} here: start the container with `{options}` (docker, podman)"
    if is_filtered() and not in_user_namespace():
        return "start the container with `--security-opt seccomp=unconfined` (docker, podman)"
    return "run as root outside this user namespace"


def confine() -> None:
    """Keep CAP_NET_ADMIN and nothing else, for good, as an ordinary user if possible.

    That user is the one who called sudo(8), else nobody. It must be able to read Python's own files, because some are
    imported only when they are needed; if it can't, it is the owner of shaper's own files. In a user namespace without
    that user, and where only root can read the files, the user stays the same.
    No program that this process starts may do more. For the main thread, while it is the only one.

    Raises:
        OSError: this process lacks CAP_NET_ADMIN.
        RuntimeError: it has several threads.
    """
    if len(proc.threads()) > 1:
        raise RuntimeError("a process with several threads can't be confined: each has capabilities of its own")
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    for capability in range(int(Path("/proc/sys/kernel/cap_last_cap").read_text()) + 1):
        if capability != CAP_NET_ADMIN:
            with suppress(PermissionError):  # it has nothing to give up
                prctl(PR_CAPBSET_DROP, capability)
    if os.getuid() == 0:
        prctl(PR_SET_KEEPCAPS, 1)
        _become_ordinary()
    capset(1 << CAP_NET_ADMIN)
    detail(f"process {os.getpid()} keeps CAP_NET_ADMIN alone, as user {os.geteuid()}")
    # So that a guardian that replaces one that died has it too.
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_NET_ADMIN)


def _become_ordinary() -> None:
    """Be an ordinary user and group from now on, if there is one who can read what this process may still need."""
    package = Path(__file__).parents[1]
    needed = [sys.prefix, sys.base_prefix, str(package)]
    caller = int(os.environ.get("SUDO_UID", NOBODY)), int(os.environ.get("SUDO_GID", NOBODY))
    # Without its capabilities root can't read a home that only its owner may enter.
    owner = package.stat()
    groups = os.getgroups()
    for user, group in (caller, (owner.st_uid, owner.st_gid)):
        try:
            os.setgroups([])
            os.setegid(group)
            os.seteuid(user)
        except OSError:
            continue  # a user namespace without such a user
        can_read = all(os.access(path, os.R_OK | os.X_OK, effective_ids=True) for path in needed)
        os.seteuid(0)
        os.setegid(0)
        if can_read and user:
            os.setresgid(group, group, group)
            os.setresuid(user, user, user)
            return
    with suppress(OSError):
        os.setgroups(groups)
