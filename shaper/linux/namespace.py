"""A private network namespace, whose lo is up and can be shaped without root.

For an ordinary user it comes with a user namespace, in which shaper is root over that network and over nothing else:
see user_namespaces(7). A command started inside runs in a second, inner user namespace that gives it back the caller's
user and group, because programs such as postgres refuse to run as root.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile

from shaper.errors import ShaperError, UsageError
from shaper.linux import capabilities, proc
from shaper.linux.capabilities import CAP_NET_ADMIN, CAP_NET_RAW, CAP_SYS_ADMIN, can
from shaper.linux.command import Command
from shaper.linux.libc import (
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWUSER,
    MS_BIND,
    MS_PRIVATE,
    MS_REC,
    capset,
    mount,
    setns,
    unshare,
)
from shaper.linux.sysctl import set_sysctl

MTU = 1500
SMALLEST_MTU = 68  # RFC 791; IPv6 needs 1280, RFC 8200
LARGEST_MTU = 65536  # what lo has by default

# linux/sockios.h, net/if.h
SIOCSIFFLAGS = 0x8914
SIOCSIFMTU = 0x8922
IFF_UP = 1

# Settings that may forbid user namespaces, the value that does, and one that allows them.
SWITCHES = (
    ("kernel.apparmor_restrict_unprivileged_userns", "1", "0"),
    ("kernel.unprivileged_userns_clone", "0", "1"),
    ("user.max_user_namespaces", "0", "10000"),
)


@dataclass(frozen=True)
class Private:
    """The namespace that this process has entered.

    Attributes:
        uid: the caller's user.
        gid: the caller's group.
        mapped: a user namespace, in which the caller is root, comes with it.
    """

    uid: int
    gid: int
    mapped: bool

    def spawn_inside(
        self,
        command: list[str],
        *,
        prepare: Callable[[], None] = lambda: None,
        stdout: int | None = None,
        through_strace: bool = False,
    ) -> Command:
        """A command inside, run as the caller; it waits for `Command.release`.

        The other arguments and the errors are those of `Command`.

        Args:
            prepare: called in the child while it is still root of the network.
        """

        def ready() -> None:
            prepare()
            self.become_caller()

        return Command(command, prepare=ready, stdout=stdout, through_strace=through_strace)

    def another(self, mtu: int = MTU) -> int:
        """A descriptor of another new network namespace, of the same user namespace, in which lo is up.

        Raises:
            OSError: see unshare(2).
        """
        with back_afterwards():
            self.renew(mtu)
            return own()

    def renew(self, mtu: int = MTU) -> None:
        """Move this process into another new network namespace, of the same user namespace; see `enter`.

        Raises:
            OSError: see unshare(2).
        """
        unshare(CLONE_NEWNET)
        _set_up(mtu, self.mapped)

    def become_caller(self) -> None:
        """Give this process, which is inside, the caller's user and group, if it has others, and no capabilities.

        Raises:
            OSError: see unshare(2).
        """
        if self.mapped:
            unshare(CLONE_NEWUSER)
            _map(inside=(self.uid, self.gid), outside=(0, 0))
            if self.uid != 0:
                capset(0)  # as after execve(2); with them, even files that it may not read by their mode could be read


def enter(mtu: int = MTU) -> Private:
    """Move this process into a network namespace of its own. It must have one thread only, so before trio starts.

    Args:
        mtu: of lo, in bytes, so that packets have the sizes that they have on a network.

    Raises:
        ShaperError: user namespaces are switched off here; the message names the setting.
        UsageError: the MTU is too small for IP, or larger than lo's.
        RuntimeError: this process has several threads.
    """
    if not SMALLEST_MTU <= mtu <= LARGEST_MTU:
        raise UsageError(f"an MTU of {mtu} bytes carries no IP packets; give one from {SMALLEST_MTU} to {LARGEST_MTU}")
    if len(proc.threads()) > 1:
        raise RuntimeError("a process with several threads can't enter a user namespace, see unshare(2)")
    caller = os.geteuid(), os.getegid()
    mapped = not all(map(can, (CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW)))
    what = _what_to_do()  # in a new user namespace every capability is there
    try:
        unshare(CLONE_NEWNET | (CLONE_NEWUSER if mapped else 0))
        if mapped:
            _map(inside=(0, 0), outside=caller)
    except OSError as error:
        raise ShaperError(_why_not(error, what)) from None
    _set_up(mtu, mapped)
    return Private(*caller, mapped)


def own() -> int:
    """A descriptor of the network namespace that this process is in."""
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


@contextmanager
def back_afterwards() -> Iterator[None]:
    """This process is in the same network namespace afterwards as before; it must be root over it."""
    here = own()
    try:
        yield
    finally:
        setns(here, CLONE_NEWNET)
        os.close(here)


@contextmanager
def within(network: int) -> Iterator[None]:
    """In here this process is in another network namespace: the one of this descriptor."""
    with back_afterwards():
        setns(network, CLONE_NEWNET)
        yield


def cover(files: dict[str, str]) -> None:
    """Give this process, and those that it starts, other files than the rest of the machine, with these texts.

    Args:
        files: the text of each, by its path; what isn't there stays away.

    Raises:
        OSError: see unshare(2) and mount(2).
    """
    unshare(CLONE_NEWNS)
    mount("none", "/", MS_REC | MS_PRIVATE)
    for path, text in files.items():
        with NamedTemporaryFile("w") as file:
            file.write(text)
            file.flush()
            os.fchmod(file.fileno(), 0o644)
            with suppress(FileNotFoundError):
                mount(file.name, path, MS_BIND)


def _set_up(mtu: int, mapped: bool) -> None:
    """Make a new network usable."""
    _bring_up("lo", mtu)
    # Distributions set this for the first namespace; with it ping needs no privilege in here either.
    gid = 0 if mapped else 2**31 - 1
    with suppress(OSError):  # in somebody else's user namespace not all groups exist
        set_sysctl("net/ipv4/ping_group_range", f"0 {gid}")


def remedy() -> str | None:
    """The command that allows user namespaces, if a setting forbids them; None if none does."""
    for name, off, on in SWITCHES:
        path = Path("/proc/sys", *name.split("."))
        if path.exists() and path.read_text().strip() == off:
            return f"sudo sysctl {name}={on}"
    return None


def _map(inside: tuple[int, int], outside: tuple[int, int]) -> None:
    """Map one user and one group of the parent namespace into this one."""
    # Without this the kernel refuses the group: see user_namespaces(7), "Interaction with system calls".
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{inside[0]} {outside[0]} 1")
    Path("/proc/self/gid_map").write_text(f"{inside[1]} {outside[1]} 1")


def _bring_up(interface: str, mtu: int) -> None:
    name = interface.encode()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, SIOCSIFMTU, struct.pack("16si20x", name, mtu))
        fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sH22x", name, IFF_UP))


def _what_to_do() -> str:
    """What allows namespaces where they are refused: the capabilities for a network, or less, a user namespace."""
    if can(CAP_SYS_ADMIN):
        return capabilities.remedy(CAP_NET_ADMIN, CAP_NET_RAW)
    also = ", or with `--security-opt seccomp=unconfined`" if capabilities.is_filtered() else ""
    return capabilities.remedy(CAP_SYS_ADMIN) + also


def _why_not(error: OSError, what: str) -> str:
    if (command := remedy()) is not None:
        return f"user namespaces are switched off here; switch them on with `{command}`, or run as root"
    return f"can't make a namespace ({error.strerror}): the container or a security module forbids it; {what}"
