"""What the kernel knows about one TCP socket, see sock_diag(7); ss(8) asks the same way. An answer takes some 15 us."""

from __future__ import annotations

import socket
import sys
from collections.abc import Collection, Iterator
from contextlib import closing
from ipaddress import ip_address
from struct import Struct
from typing import Literal, NamedTuple

from shaper.linux.sockets import CLOSED, LISTENING

# linux/netlink.h, linux/sock_diag.h
NETLINK_SOCK_DIAG = 4
SOCK_DIAG_BY_FAMILY = 20
NLM_F_REQUEST, NLM_F_DUMP = 1, 0x300
NLMSG_ERROR, NLMSG_DONE = 2, 3

# linux/inet_diag.h: inet_diag_req_v2 behind the message's header, and inet_diag_msg.
_header = Struct("=IHHII")  # length, type, flags, sequence, port
_request = Struct("=BBBBI")  # family, protocol, extensions, padding, states
_ports = Struct(">HH")  # the socket's own, its peer's
_any_interface_and_cookie = Struct("=III").pack(0, 0xFFFFFFFF, 0xFFFFFFFF)
_answer = Struct("=17xB54xI4xII")  # state, bytes that wait, user, inode
_kind = Struct("=4xH")
_length_and_kind = Struct("=IH")
_attribute = Struct("=HH")  # length, type
ATTRIBUTES = 16 + 72  # behind both headers
CGROUP_ID = 21  # INET_DIAG_CGROUP_ID, since Linux 5.9

Service = tuple[Literal["tcp", "udp"], int]
"""A port at which a server may be reached."""


class SocketInfo(NamedTuple):
    """A TCP socket.

    Attributes:
        state: a number, see net/tcp_states.h.
        unread: bytes that wait in it.
        uid: whose it is. The kernel says 0 for one that its process has closed.
        inode: as in the link `socket:[INODE]` of a descriptor; 0 if no process has it any more.
    """

    state: int
    unread: int
    uid: int
    inode: int


class SocketDiag:
    """A socket to ask the kernel by."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_SOCK_DIAG)

    def tcp(self, local: tuple[str, int], remote: tuple[str, int]) -> SocketInfo | None:
        """The socket with these ends, or the one that listens at `local`; None if there is none.

        Args:
            local: its own address and port.
            remote: its peer's.
        """
        own, peer = ip_address(local[0]).packed, ip_address(remote[0]).packed
        family = socket.AF_INET if len(own) == 4 else socket.AF_INET6
        request = _request.pack(family, socket.IPPROTO_TCP, 0, 0, 0xFFFFFFFF) + _ports.pack(local[1], remote[1])
        request += own.ljust(16, b"\0") + peer.ljust(16, b"\0") + _any_interface_and_cookie
        length = _header.size + len(request)
        self._socket.send(_header.pack(length, SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST, 0, 0) + request)
        answer = self._socket.recv(8192)
        if _kind.unpack_from(answer)[0] != SOCK_DIAG_BY_FAMILY:
            return None
        return SocketInfo(*_answer.unpack_from(answer))

    def close(self) -> None:
        """Ask no more."""
        self._socket.close()


def services(cgroups: Collection[int]) -> list[Service]:
    """The ports of TCP sockets that listen, and of UDP sockets without a peer, in this thread's network namespace.

    Args:
        cgroups: the inodes of the control groups whose sockets count, see cgroups(7).
    """
    found = set()
    kinds: tuple[tuple[Literal["tcp", "udp"], int, int], ...] = (
        ("tcp", socket.IPPROTO_TCP, LISTENING),
        ("udp", socket.IPPROTO_UDP, CLOSED),
    )
    with closing(socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_SOCK_DIAG)) as asking:
        for kind, protocol, state in kinds:
            for family in (socket.AF_INET, socket.AF_INET6):
                request = _request.pack(family, protocol, 0, 0, 1 << state).ljust(56, b"\0")
                length = _header.size + len(request)
                asking.send(_header.pack(length, SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST | NLM_F_DUMP, 0, 0) + request)
                for message in _dumped(asking):
                    if _cgroup(message) in cgroups:
                        found.add((kind, _ports.unpack_from(message, _header.size + 4)[0]))
    return sorted(found)


def _dumped(asking: socket.socket) -> Iterator[bytes]:
    """The messages of an answer, up to its end."""
    while True:
        data, at = asking.recv(1 << 16), 0
        while at < len(data):
            length, kind = _length_and_kind.unpack_from(data, at)
            if kind in (NLMSG_ERROR, NLMSG_DONE):  # perhaps there is no IPv6
                return
            yield data[at : at + length]
            at += length + 3 & ~3


def _cgroup(message: bytes) -> int | None:
    """The inode of a socket's control group; None if the kernel doesn't say."""
    at = ATTRIBUTES
    while at < len(message):
        length, kind = _attribute.unpack_from(message, at)
        if kind == CGROUP_ID:
            return int.from_bytes(message[at + 4 : at + 12], sys.byteorder)
        at += length + 3 & ~3
    return None
