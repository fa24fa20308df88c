"""While no packet matches, `shaper start` says where the traffic really is."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
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


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--port", "443"], "sockets that use port 443: 1 on veth0; try --interface veth0\n"),
        (["--port", "443,80", "--interface", "veth0", "--hook", "output"], None),
    ],
)
def test_it_says_where_the_traffic_is(
    options: list[str], expected: str | None, host: Host, tmp_path: Path, rule_set: Callable[[], list[str]]
) -> None:
    with (
        socket.create_server(("10.1.0.1", 443)) as server,
        host.socket(socket.AF_INET, socket.SOCK_STREAM) as client,
        Shaper(tmp_path, "--policy", "delay:1ms", *options) as shaper,
    ):
        for end in exchange(server, client):
            end.setblocking(False)
        if expected is None:
            time.sleep(7)
            assert shaper.errors == ""
            return
        assert said(shaper) == START + expected
        assert shaper.stop()["taken"] == 0
        assert shaper.errors == START + expected
