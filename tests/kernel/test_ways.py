"""Both ways are shaped, each packet once: on a server, on a client, on a router between them, and on lo."""

from __future__ import annotations

import os
import re
import signal
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from typing import Any

import pytest

from shaper.units import ms
from tests.kernel.hosts import Host
from tests.kernel.shaping import Shaper, nothing_is_left

pytestmark = [pytest.mark.alone, pytest.mark.usefixtures("network")]
DOWN, UP = 8080, 8081
"""Ports of the client's end: who connects from the first one is sent to, who connects from the other one sends."""
RATE, DELAY, SLACK = 5_000_000, 20 * ms, 15 * ms
SO_TIMESTAMPNS = 35  # asm-generic/socket.h
ETH_P_ALL = 3  # linux/if_ether.h


class Lab:
    """A client and a server, with the test's own network between them as a router; or both ends on lo."""

    def __init__(self, place: str, client: Host, server: Host) -> None:
        self._hosts = {"client": client, "server": server}
        self.place = place
        self._ends = ("client",) if place == "lo" else ("client", "server")
        self.address = "127.0.0.1" if place == "lo" else "10.2.0.2"
        self.interface = {"router": "client,server"}.get(place, "lo" if place == "lo" else "eth0")

    def at(self, who: str) -> AbstractContextManager[None]:
        """In here, sockets and processes are where this one is."""
        return self._hosts[who].inside() if self.place != "lo" and who in self._hosts else nullcontext()

    def prepare(self) -> None:
        """Count the packets that come to both ends. Each one is a segment, not many that are cut later."""
        link = "lo" if self.place == "lo" else "eth0"
        for who in self._ends:
            with self.at(who):
                end = "-d" if who == "server" else "-s"
                counting = f"iptables -t raw -A PREROUTING {end} {self.address}"
                for command in (f"ip link set {link} mtu 1500 gso_max_segs 1", counting):
                    subprocess.run(command.split(), check=True)

    def shaper(self, folder: Path, *arguments: str) -> Shaper:
        """A shaper at the place."""
        with self.at(self.place):
            return Shaper(folder, "--interface", self.interface, *arguments)

    def bulk(self, port: int) -> tuple[socket.socket, socket.socket]:
        """The end that sends and the end that receives of a connection from the client to the server."""
        with self.at("server"):
            listening = socket.create_server(("", port))
        with listening:
            with self.at("client"):
                client = socket.create_connection((self.address, port), 20)
            server, _ = listening.accept()
        return (server, client) if port == DOWN else (client, server)

    def counted(self) -> int:
        """Packets that have come to both ends, by their own firewalls."""
        lines: list[str] = []
        for who in self._ends:
            with self.at(who):
                lines += subprocess.check_output(["iptables-save", "-c", "-t", "raw"], text=True).splitlines()
        return sum(int(line[1 : line.index(":")]) for line in lines if " -A PREROUTING " in line)


@pytest.fixture(params=["server", "client", "router", "lo"])
def lab(request: pytest.FixtureRequest, shell: Any) -> Iterator[Lab]:
    with (
        Host("client", ["10.1.0.1/24"], ["10.1.0.2/24"]) as client,
        Host("server", ["10.2.0.1/24"], ["10.2.0.2/24"]) as server,
    ):
        shell("sysctl -qw net.ipv4.ip_forward=1")
        lab = Lab(request.param, client, server)
        lab.prepare()
        yield lab


class Bulk:
    """Data that is sent and received, in two threads, until it is finished."""

    def __init__(self, sender: socket.socket, receiver: socket.socket) -> None:
        # Enough waits for the rate at any time, whatever this machine sends by default, but soon all has gone.
        sender.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"reno")
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 17)
        self._sender, self._receiver = sender, receiver
        self._finished = threading.Event()
        self._threads = [threading.Thread(target=self._send), threading.Thread(target=self._receive)]
        for thread in self._threads:
            thread.start()

    def _send(self) -> None:
        while not self._finished.is_set():
            self._sender.sendall(bytes(1 << 14))
        self._sender.shutdown(socket.SHUT_WR)

    def _receive(self) -> None:
        self._counts = [(time.monotonic(), 0)]
        while data := self._receiver.recv(1 << 16):
            self._counts.append((time.monotonic(), self._counts[-1][1] + len(data)))

    def finish(self) -> None:
        """Send no more, and wait until all has been received."""
        self._finished.set()
        for thread in self._threads:
            thread.join()

    def close(self) -> None:
        """Close both ends."""
        self._sender.close()
        self._receiver.close()

    def rate(self, begin: float, seconds: float) -> float:
        """Bits a second of full segments, 1448 bytes of payload with 52 of headers, in this time."""
        counts = [each for each in self._counts if begin <= each[0] <= begin + seconds]
        (first, before), (last, after) = counts[0], counts[-1]
        return (after - before) * 8 * 1500 / 1448 / (last - first)


def pinged(lab: Lab, count: int) -> tuple[list[float], list[float]]:
    """Round trips to the server in ms: as `ping` says, and between the packets as they are captured at the client."""
    with lab.at("client"):
        capture = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL))
        capture.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        # -U: by its own clock, since the kernel stamps what comes in before it is held.
        text = subprocess.check_output(["ping", "-U", "-n", "-i", "0.1", "-c", str(count), lab.address], text=True)
    seen: dict[tuple[int, int], float] = {}
    capture.setblocking(False)
    with capture, suppress(BlockingIOError):
        while True:
            raw, stamp, *_ = capture.recvmsg(1 << 16, socket.CMSG_SPACE(16))
            if raw[0] == 0x45 and raw[9] == socket.IPPROTO_ICMP:
                seconds, nanoseconds = struct.unpack("qq", stamp[0][2])
                # Its type, and its number.
                seen.setdefault((raw[20], int.from_bytes(raw[26:28])), seconds * 1000 + nanoseconds / ms)
    captured = [seen[0, number] - seen[8, number] for number in range(1, count + 1)]
    return [float(time) for time in re.findall(r"time=([\d.]+) ms", text)], captured


def test_both_ways_have_rate_and_delay_and_each_packet_is_taken_once(lab: Lab, tmp_path: Path) -> None:
    policies = ("--policy", f"rate:rate={RATE}bit,scope=flow", "--policy", f"delay:{DELAY}ns")
    with lab.shaper(tmp_path, *policies, "--host", lab.address) as shaper:
        down, up = [Bulk(*lab.bulk(port)) for port in (DOWN, UP)]
        begin = time.monotonic() + 0.5
        time.sleep(1.5)
        for each in (down, up):
            each.finish()
        said, captured = pinged(lab, 3)
        for each in (down, up):
            each.close()
        # What is under way of the connections comes before this does.
        pinged(lab, 1)
        summary = shaper.stop()
    rates = [each.rate(begin, 1) for each in (down, up)]
    assert rates == pytest.approx([RATE, RATE], rel=0.05)
    assert summary["taken"] == summary["sent"] == lab.counted(), shaper.errors
    assert (shaper.status, summary["bypassed"]) == (0, 0), shaper.errors
    # On the client nothing is held between its own captures, and on lo only the request.
    shown = {"client": 0, "lo": 1}.get(lab.place, 2)
    for trips, delay in ((said, 2 * DELAY), (captured, shown * DELAY)):
        assert delay <= min(trips) * ms < delay + SLACK, (said, captured)


def test_what_goes_out_goes_on_when_the_engine_is_killed(rule_set: Callable[[], list[str]], tmp_path: Path) -> None:
    data = bytes(range(256)) * 4000
    with (
        Host("veth", ["10.1.0.1/24"], ["10.1.0.2/24"]) as host,
        host.socket(socket.AF_INET, socket.SOCK_STREAM) as server,
    ):
        server.bind(("", DOWN))
        server.listen()
        options = ("--policy", "delay:50ms", "--interface", "veth", "--port", str(DOWN))
        with Shaper(tmp_path, *options) as shaper, socket.create_connection(("10.1.0.2", DOWN)) as client:
            receiver, _ = server.accept()
            sending = threading.Thread(target=client.sendall, args=(data,))
            sending.start()
            # By now many segments are on their way, more than a socket may have on its own machine.
            received = receiver.recv(1 << 16)
            os.kill(shaper.engine, signal.SIGKILL)
            with receiver:
                while len(received) < len(data):
                    received += receiver.recv(1 << 16)
            sending.join()
            shaper.process.wait(60)
    assert received == data
    assert nothing_is_left(rule_set)


def test_the_direction_is_that_from_the_one_who_opened_the_connection(tmp_path: Path) -> None:
    kind = socket.AF_INET, socket.SOCK_DGRAM
    options = ("--policy", "delay:300ms,direction=original", "--protocol", "udp", "--interface", "veth,lo")
    with (
        Host("veth", ["10.1.0.1/24"], ["10.1.0.2/24"]) as host,
        socket.socket(*kind) as ours,
        host.socket(*kind) as its,
        Shaper(tmp_path, *options) as shaper,
    ):
        ours.bind(("10.1.0.1", 0))
        its.bind(("10.1.0.2", 0))
        with host.socket(*kind) as opener_there, socket.socket(*kind) as opener_here:
            # A connection that comes in, one that goes out, and one on lo.
            for opener, other in ((opener_there, ours), (opener_here, its), (opener_here, ours)):
                began = time.monotonic()
                opener.sendto(b"request", other.getsockname())
                _, peer = other.recvfrom(100)
                requested = time.monotonic()
                other.sendto(b"reply", peer)
                assert opener.recv(100) == b"reply"
                assert requested - began >= 0.3 > time.monotonic() - requested
        summary = shaper.stop()
    assert (summary["taken"], summary["stages"]["delay"]["held"]) == (6, 3)
