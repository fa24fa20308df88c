"""Connections of an sshd: not shaped, unless their port is asked for."""

import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from shaper.live.rules.rules import Match, Rules

pytestmark = pytest.mark.usefixtures("network")

SSHD = """
import socket, sys
open("/proc/self/comm", "w").write("sshd")
listener = socket.create_server((sys.argv[1], 0), family=socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET,
                                dualstack_ipv6=sys.argv[1] == "::")
print(listener.getsockname()[1], flush=True)
connection, _ = listener.accept()
print("accepted", flush=True)
while data := connection.recv(100):
    connection.sendall(data)
"""


@pytest.fixture(params=[("127.0.0.1", "127.0.0.1"), ("::1", "::1"), ("::", "127.0.0.1")])
def ssh(request: pytest.FixtureRequest) -> Iterator[socket.socket]:
    """An established connection of a process that is called sshd."""
    listening, address = request.param
    server = subprocess.Popen([sys.executable, "-c", SSHD, listening], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    with socket.create_connection((address, int(server.stdout.readline()))) as connection:
        assert server.stdout.readline() == "accepted\n"
        yield connection
    server.wait()


def test_ssh_connections_are_left_alone(ssh: socket.socket) -> None:
    rules = Rules(Match(), 7)
    rules.install()
    for _ in range(10):
        ssh.sendall(b"x")
        assert ssh.recv(100) == b"x"
    assert rules.look().packets == 0
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()):
        assert rules.look().packets >= 3


def test_ssh_is_shaped_when_its_port_is_asked_for(ssh: socket.socket) -> None:
    rules = Rules(Match(ports=(ssh.getpeername()[1],)), 7)
    rules.install()
    ssh.sendall(b"x")
    assert ssh.recv(100) == b"x"
    assert rules.look().packets >= 2
