"""What the kernel says about one TCP socket."""

import os
import socket
from collections.abc import Iterator
from contextlib import closing

import pytest

from shaper.linux.sock_diag import SocketDiag


@pytest.fixture(params=["127.0.0.1", "::1"])
def pair(request: pytest.FixtureRequest) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Both ends of a connection."""
    family = socket.AF_INET6 if ":" in request.param else socket.AF_INET
    try:
        server = socket.create_server((request.param, 0), family=family)
    except OSError:
        pytest.skip("there is no IPv6 here")
    with server, socket.create_connection(server.getsockname()[:2]) as client, server.accept()[0] as accepted:
        yield client, accepted


def test_a_socket_has_an_owner_and_bytes_that_wait(pair: tuple[socket.socket, socket.socket]) -> None:
    client, accepted = pair
    client.sendall(b"three")
    with closing(SocketDiag()) as diag:
        found = diag.tcp(accepted.getsockname()[:2], accepted.getpeername()[:2])
        assert found is not None
        assert (found.unread, found.uid, found.inode) == (5, os.geteuid(), os.fstat(accepted.fileno()).st_ino)


def test_a_socket_that_its_process_has_closed_has_no_inode(pair: tuple[socket.socket, socket.socket]) -> None:
    client, _ = pair
    ends = client.getsockname()[:2], client.getpeername()[:2]
    client.close()
    with closing(SocketDiag()) as diag:
        found = diag.tcp(*ends)
        assert found is not None
        assert found.inode == 0


def test_where_there_is_no_socket_nothing_is_found() -> None:
    with closing(SocketDiag()) as diag:
        assert diag.tcp(("127.0.0.1", 1), ("127.0.0.1", 1)) is None
