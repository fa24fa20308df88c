"""While no packet matches, `shaper start` says where the traffic really is."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kernel.hosts import Host
from tests.kernel.shaping import Shaper

pytestmark = pytest.mark.usefixtures("network")
START = "shaper: no packet has matched so far; "


@pytest.fixture
def host() -> Iterator[Host]:
    with Host("veth0", ["10.1.0.1/24", "fd01::1/64"], ["10.1.0.2/24", "fd01::2/64"]) as host:
        yield host


def said(shaper: Shaper) -> str:
    """The first line that it prints on its standard error."""
    deadline = time.monotonic() + 20
    while not shaper.errors.endswith("\n"):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return shaper.errors


def exchange(server: socket.socket, client: socket.socket) -> list[socket.socket]:
    """A connection between these two, over which a byte goes now and then."""
    client.connect(server.getsockname())
    accepted, _ = server.accept()
    client.send(b"x")
    accepted.recv(1)
    return [client, accepted]


def test_it_says_where_the_traffic_is(host: Host, tmp_path: Path) -> None:
    elsewhere = ("--queue", "7", "--port", "443")
    there = ("--queue", "8", "--port", "443,80", "--interface", "veth0", "--hook", "output")
    with (
        socket.create_server(("10.1.0.1", 443)) as server,
        host.socket(socket.AF_INET, socket.SOCK_STREAM) as client,
        Shaper(tmp_path / "there", "--policy", "delay:1ms", *there) as one,
        Shaper(tmp_path / "elsewhere", "--policy", "delay:1ms", *elsewhere) as other,
    ):
        ends = exchange(server, client)
        expected = f"{START}sockets that use port 443: 1 on veth0; try --interface veth0\n"
        assert said(other) == expected
        assert other.stop()["taken"] == 0
        assert other.errors == expected
        # The first one began earlier.
        assert one.stop()["taken"] > 0
        assert one.errors == ""
        for end in ends:
            end.close()
