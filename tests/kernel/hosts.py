"""Hosts beside the test's own network namespace, each in a namespace of its own, and sockets in them."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from shaper.linux.libc import CLONE_NEWNET, setns


class Host:
    """A host on the other end of an interface of ours.

    Args:
        interface: the name of ours; its own is `eth0`.
        ours: our addresses, each with the length of its prefix.
        its: its addresses.
    """

    def __init__(self, interface: str, ours: list[str], its: list[str]) -> None:
        self._process = subprocess.Popen(["unshare", "-n", "sh", "-c", "echo; cat"], stdin=-1, stdout=-1)
        assert self._process.stdout is not None
        self._process.stdout.readline()
        pid = self._process.pid
        self._ip("link", "add", interface, "type", "veth", "peer", "name", "eth0", "netns", str(pid))
        for address in ours:
            self._ip("addr", "add", address, "dev", interface, *(["nodad"] if ":" in address else ["brd", "+"]))
        self._ip("link", "set", interface, "up")
        with self.inside():
            self._ip("link", "set", "lo", "up")
            for address in its:
                self._ip("addr", "add", address, "dev", "eth0", *(["nodad"] if ":" in address else ["brd", "+"]))
            self._ip("link", "set", "eth0", "up")
            for address in ours:
                self._ip("route", "add", "default", "via", address.partition("/")[0])

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
