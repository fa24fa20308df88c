"""What the kernel knows about one TCP socket, see sock_diag(7); ss(8) asks the same way. An answer takes some 15 us."""

from __future__ import annotations

import socket
from ipaddress import ip_address
from struct import Struct
from typing import NamedTuple

# linux/netlink.h, linux/sock_diag.h
NETLINK_SOCK_DIAG = 4
SOCK_DIAG_BY_FAMILY = 20
NLM_F_REQUEST = 1

# linux/inet_diag.h: inet_diag_req_v2 behind the message's header, and inet_diag_msg.
_header = Struct("=IHHII")  # length, type, flags, sequence, port
_request = Struct("=BBBBI")  # family, protocol, extensions, padding, states
_ports = Struct(">HH")  # the socket's own, its peer's
_any_interface_and_cookie = Struct("=III").pack(0, 0xFFFFFFFF, 0xFFFFFFFF)
_answer = Struct("=17xB54xI4xII")  # state, bytes that wait, user, inode
_kind = Struct("=4xH")


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
