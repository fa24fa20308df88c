"""Packets that policies make, where NAT translates addresses and ports: they belong to their connection."""

from __future__ import annotations

import socket
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.kernel.conftest import Shell
from tests.kernel.hosts import Host
from tests.kernel.shaping import Shaper

pytestmark = pytest.mark.usefixtures("network")

CONNECTIONS = 20
DATAGRAMS = 10
MESSAGE = bytes(range(256)) * 4
COPY_FIRST = """
from shaper import Policy, Send, ms

class CopyFirst(Policy):
    def on_packet(self, packet, now):
        # TCP is not kept waiting: connection tracking takes a late SYN and SYN-ACK for a new connection.
        return [Send(packet.copy()), Send(packet, at=now + 5 * ms if packet.tcp is None else now)]
"""
SERVICE, PORT = 80, 8080
Make = Callable[[int, int], socket.socket]


class Case(NamedTuple):
    """Where NAT is done, and where shaper copies packets.

    Attributes:
        rules: arguments of iptables, in which {router}, {server} stand for the router's and the server's addresses.
        hook: of shaper, with its interface.
        client, server: the namespaces in which they are, ours being the router's.
        target, port: whom the client talks to.
        copied: whether requests are, and whether answers are.
    """

    rules: tuple[str, ...]
    hook: tuple[str, str]
    client: str
    server: str
    target: str
    port: int
    copied: tuple[bool, bool] = (True, True)


DNAT = "PREROUTING -i client -p {protocol} --dport 80 -j DNAT --to-destination {server}:8080"
MASQUERADE = "POSTROUTING -o server -p {protocol} -j MASQUERADE --to-ports 40000-40999"
CASES = {
    "redirect on lo": Case(
        ("OUTPUT -p {protocol} --dport 80 -j REDIRECT --to-ports 8080",),
        ("input", "lo"), "router", "router", "{local}", SERVICE,
    ),
    "output, redirect on lo": Case(
        ("OUTPUT -p {protocol} --dport 80 -j REDIRECT --to-ports 8080",),
        ("output", "lo"), "router", "router", "{local}", SERVICE,
    ),
    "both ends on lo": Case(
        (
            "OUTPUT -p {protocol} --dport 80 -j REDIRECT --to-ports 8080",
            "POSTROUTING -o lo -p {protocol} --dport 8080 -j SNAT --to-source {local}:40000-40999",
        ),
        ("input", "lo"), "router", "router", "{local}", SERVICE,
    ),
    "redirect of what comes in": Case(
        ("PREROUTING -i client -p {protocol} --dport 80 -j REDIRECT --to-ports 8080",),
        ("input", "client"), "client", "router", "{router}", SERVICE, (True, False),
    ),
    "both ways, redirect of what goes elsewhere": Case(
        ("PREROUTING -i client -p {protocol} --dport 80 -j REDIRECT --to-ports 8080",),
        ("input,output,forward", "client"), "client", "router", "{nobody}", SERVICE,
    ),
    "source translated on input": Case(
        ("INPUT -i client -p {protocol} --dport 8080 -j SNAT --to-source {source}:40000-40999",),
        ("input", "client"), "client", "router", "{router}", PORT, (True, False),
    ),
    "output, source translated": Case(
        (MASQUERADE,), ("output", "server"), "router", "server", "{server}", PORT, (True, False),
    ),
    "both ways, source translated": Case(
        (MASQUERADE,), ("input,output,forward", "server"), "router", "server", "{server}", PORT,
    ),
    "forward, DNAT": Case((DNAT,), ("forward", "client"), "client", "server", "{router}", SERVICE),
    "forward, MASQUERADE": Case((MASQUERADE,), ("forward", "server"), "client", "server", "{server}", PORT),
    "forward, both": Case((DNAT, MASQUERADE), ("forward", "client"), "client", "server", "{router}", SERVICE),
    "forward, no NAT": Case((), ("forward", "client"), "client", "server", "{server}", PORT),
    "no NAT on lo": Case((), ("input", "lo"), "router", "router", "{local}", PORT),
}  # fmt: skip
V4 = {"router": "10.1.0.1", "server": "10.2.0.2", "local": "127.0.0.1", "nobody": "10.9.0.9", "source": "10.1.0.77"}
V6 = {"router": "fd01::1", "server": "fd02::2", "local": "::1", "nobody": "fd02::99", "source": "fd01::77"}


class Net:
    """A client, a router, in whose namespace the test is, and a server; or one of them, as the case has it."""

    def __init__(self, case: Case, version: int, client: Host, server: Host) -> None:
        self._family = socket.AF_INET if version == 4 else socket.AF_INET6
        self._hosts = {"client": client, "server": server}
        names = V4 if version == 4 else V6
        bracketed = {name: address if version == 4 else f"[{address}]" for name, address in names.items()}
        for rule in case.rules:
            for protocol in ("tcp", "udp"):
                text = rule.format(protocol=protocol, **bracketed)
                command = "iptables" if version == 4 else "ip6tables"
                subprocess.run([command, "-t", "nat", "-A", *text.split()], check=True)
        self._case = case
        self.target = case.target.format(**names), case.port

    def _socket(self, who: str, kind: int) -> socket.socket:
        made = self._hosts[who].socket(self._family, kind) if who in self._hosts else socket.socket(self._family, kind)
        made.settimeout(20)
        return made

    def server(self, kind: int) -> socket.socket:
        """The server's socket."""
        made = self._socket(self._case.server, kind)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(("", PORT))
        return made

    def client(self, kind: int) -> socket.socket:
        """A client's socket, connected."""
        made = self._socket(self._case.client, kind)
        made.connect(self.target)
        return made

    def retransmitted(self) -> int:
        """TCP segments that client and server sent again."""
        count = _retransmitted()
        for host in self._hosts.values():
            with host.inside():
                count += _retransmitted()
        return count


def _retransmitted() -> int:
    lines = [line.split() for line in Path("/proc/thread-self/net/snmp").read_text().splitlines()]
    names, values = [line for line in lines if line[0] == "Tcp:"]
    return int(dict(zip(names, values, strict=True))["RetransSegs"])


@pytest.fixture
def hosts(shell: Shell) -> Iterator[tuple[Host, Host]]:
    with (
        Host("client", ["10.1.0.1/24", "fd01::1/64"], ["10.1.0.2/24", "fd01::2/64"]) as client,
        Host("server", ["10.2.0.1/24", "fd02::1/64"], ["10.2.0.2/24", "fd02::2/64"]) as server,
    ):
        shell("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1")
        yield client, server


@pytest.fixture
def nets(hosts: tuple[Host, Host], case: str) -> tuple[Net, Net]:
    """With IPv4, and with IPv6."""
    return Net(CASES[case], 4, *hosts), Net(CASES[case], 6, *hosts)


def options(case: str) -> list[str]:
    hook, interface = CASES[case].hook
    return ["--hook", hook, "--interface", interface, *(["--yes"] if interface != "lo" else [])]


def echo(server: socket.socket, connections: int) -> None:
    for _ in range(connections):
        connection, _ = server.accept()
        with connection:
            connection.settimeout(20)
            while data := connection.recv(65536):
                connection.sendall(data)


def talk(net: Net, connections: int) -> None:
    """Connections over which all bytes go, there and back."""
    with net.server(socket.SOCK_STREAM) as server:
        server.listen()
        answering = threading.Thread(target=echo, args=(server, connections))
        answering.start()
        for _ in range(connections):
            with net.client(socket.SOCK_STREAM) as client:
                client.sendall(MESSAGE)
                client.shutdown(socket.SHUT_WR)
                received = b""
                while data := client.recv(65536):
                    received += data
                assert received == MESSAGE
        answering.join()


def exchange(nets: Iterable[Net], stop: Callable[[], object], copied: tuple[bool, bool]) -> None:
    """Datagrams, there and back: both ends see one peer, and each datagram as often as it was sent."""
    asked, answered = (1 + of for of in copied)
    with ExitStack() as opened:
        ends = []
        for net in nets:
            server, client = (opened.enter_context(end(socket.SOCK_DGRAM)) for end in (net.server, net.client))
            ends += [server, client]
            peers = set()
            for number in range(DATAGRAMS):
                client.send(bytes((number,)))
                for _ in range(asked):
                    data, peer = server.recvfrom(100)
                    peers.add(peer)
                    assert data == bytes((number,))
                    server.sendto(data, peer)
            assert len(peers) == 1
            # A connected socket gets only what comes from its peer.
            answers = [client.recv(100) for _ in range(DATAGRAMS * asked * answered)]
            assert sorted(answers) == [bytes((n,)) for n in range(DATAGRAMS) for _ in range(asked * answered)]
        stop()
        for end in ends:
            end.setblocking(False)
            with pytest.raises(BlockingIOError):
                end.recv(100)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("policy", ["duplicate:100%", "own"])
def test_copies_belong_to_their_connection(tmp_path: Path, nets: tuple[Net, Net], case: str, policy: str) -> None:
    (tmp_path / "own.py").write_text(COPY_FIRST)
    spec = str(tmp_path / "own.py") if policy == "own" else policy
    with Shaper(tmp_path, "--policy", spec, "--port", str(PORT), "--port", "80", *options(case)) as shaper:
        for net in nets:
            talk(net, CONNECTIONS)
        exchange(nets, shaper.stop, CASES[case].copied)
        summary = shaper.result()
    assert shaper.status == 0, shaper.errors
    assert summary["injected"] == summary["taken"]
    assert summary["not_injected"] == 0


@pytest.mark.parametrize("case", CASES)
def test_pieces_belong_to_their_connection(tmp_path: Path, nets: tuple[Net, Net], case: str) -> None:
    with Shaper(tmp_path, "--policy", "slicer:300", "--protocol", "tcp", *options(case)) as shaper:
        for net in nets:
            talk(net, CONNECTIONS)
        summary = shaper.stop()
    assert shaper.status == 0, shaper.errors
    assert summary["injected"] >= len(nets) * CONNECTIONS * (len(MESSAGE) // 300)
    # Without the pieces that are injected, each connection sends several segments again. The count is of both families.
    assert nets[0].retransmitted() < CONNECTIONS


PINGS = {
    "no NAT": ((), "{server}"),
    "DNAT": (("PREROUTING -i client -p {icmp} -j DNAT --to-destination {server}",), "{router}"),
    "MASQUERADE": (("POSTROUTING -o server -p {icmp} -j MASQUERADE",), "{server}"),
    "both": (
        (
            "PREROUTING -i client -p {icmp} -j DNAT --to-destination {server}",
            "POSTROUTING -o server -p {icmp} -j MASQUERADE",
        ),
        "{router}",
    ),
}


@pytest.mark.parametrize("name", PINGS)
def test_copies_of_pings_are_answered(tmp_path: Path, hosts: tuple[Host, Host], shell: Shell, name: str) -> None:
    rules, target = PINGS[name]
    families = (("iptables", {**V4, "icmp": "icmp"}), ("ip6tables", {**V6, "icmp": "icmpv6"}))
    for command, names in families:
        for rule in rules:
            shell(f"{command} -t nat -A {rule.format(**names)}")
    options = ("--protocol", "icmp", "--hook", "forward", "--interface", "client")
    with Shaper(tmp_path, "--policy", "duplicate:100%", *options) as shaper:
        with hosts[0].inside():
            # It ends with the first answer to the last request.
            outputs = [shell(f"ping -c 3 -i 0.2 {target.format(**names)}") for _, names in families]
        summary = shaper.stop()
    assert shaper.status == 0, shaper.errors
    # Two requests for each, and two answers to each of these.
    for output in outputs:
        for number in (1, 2):
            assert output.count(f"seq={number} ") == 4, output
    assert summary["injected"] == summary["taken"]
