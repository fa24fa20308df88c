"""Hosts beside the test's own network namespace, each in a namespace of its own, and sockets in them."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from shaper.linux.libc import CLONE_NEWNET, setns

IFA_F_TENTATIVE = 0x40  # linux/if_addr.h


class Host:
    """A host on the other end of an interface of ours.

    Args:
        interface: the name of ours; its own is `eth0`.
        ours: our addresses, each with the length of its prefix.
        its: its addresses.

    Attributes:
        pid: a process in its namespace.
    """

    def __init__(self, interface: str, ours: list[str], its: list[str]) -> None:
        self._process = subprocess.Popen(["unshare", "-n", "sh", "-c", "echo; cat"], stdin=-1, stdout=-1)
        assert self._process.stdout is not None
        self._process.stdout.readline()
        self.pid = pid = self._process.pid
        # With the same index as its other side, a link would be up only after a second, see linkwatch_urgent_event().
        index = str(1000 + len(socket.if_nameindex()))
        self._ip("link", "add", interface, "index", index, "type", "veth", "peer", "name", "eth0", "netns", str(pid))
        _detect_no_duplicates(interface)
        for address in ours:
            self._ip("addr", "add", address, "dev", interface, *(["nodad"] if ":" in address else ["brd", "+"]))
        self._ip("link", "set", interface, "up")
        with self.inside():
            _detect_no_duplicates("eth0")
            self._ip("link", "set", "lo", "up")
            for address in its:
                self._ip("addr", "add", address, "dev", "eth0", *(["nodad"] if ":" in address else ["brd", "+"]))
            self._ip("link", "set", "eth0", "up")
            for address in ours:
                self._ip("route", "add", "default", "via", address.partition("/")[0])
            link_local("eth0")
        link_local(interface)

    @staticmethod
    def _ip(*arguments: str) -> None:
        subprocess.run(["ip", *arguments], check=True)

    @contextmanager
    def inside(self) -> Iterator[None]:
        """In here, sockets and processes of this thread are in its namespace."""
        home, there = (os.open(f"/proc/{of}/ns/net", os.O_RDONLY) for of in ("thread-self", self._process.pid))
        setns(there, CLONE_NEWNET)
        try:
            yield
        finally:
            setns(home, CLONE_NEWNET)
            os.close(home)
            os.close(there)

    def socket(self, family: int, kind: int) -> socket.socket:
        """A socket in its namespace."""
        with self.inside():
            return socket.socket(family, kind)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.communicate()


def _detect_no_duplicates(interface: str) -> None:
    """IPv6 is ready as soon as the interface is up."""
    Path(f"/proc/sys/net/ipv6/conf/{interface}/accept_dad").write_text("0")


def link_local(interface: str) -> tuple[str, int]:
    """The link-local address of an interface that has just come up, and its index."""
    index, deadline = socket.if_nametoindex(interface), time.monotonic() + 20
    while time.monotonic() < deadline:
        for row in Path("/proc/thread-self/net/if_inet6").read_text().splitlines():
            digits, number, _, _, flags, _ = row.split()
            if digits.startswith("fe80") and int(number, 16) == index and not int(flags, 16) & IFA_F_TENTATIVE:
                return socket.inet_ntop(socket.AF_INET6, bytes.fromhex(digits)), index
    raise AssertionError(f"{interface} has no link-local address")
