"""TCP leaves segments uncut, up to 64 kB; a rule counts such a packet once, and the queue gets it cut up."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path

import trio

from shaper import Action, Packet, Policy
from shaper.live.rules.rules import Match
from shaper.live.session import Settings, shape
from shaper.live.summary import Summary
from tests.kernel.conftest import Shell

AMOUNT = 5_000_000


class Slow(Policy):
    """Keeps the engine, now and then, from reading what comes."""

    scope = "queue"
    needs = "headers"

    def start(self) -> None:
        self._seen = 0

    def on_packet(self, packet: Packet, now: int) -> Action | None:
        self._seen += 1
        if self._seen % 500 == 0:
            time.sleep(0.02)
        return None


def bulk() -> None:
    """A connection, over which much is sent."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        connection, _ = server.accept()
        sending = threading.Thread(target=client.sendall, args=(bytes(AMOUNT),))
        sending.start()
        with connection:
            left = AMOUNT
            while left:
                left -= len(connection.recv(1 << 18))
        sending.join()


def segments() -> int:
    """TCP segments that came."""
    lines = [line.split() for line in Path("/proc/thread-self/net/snmp").read_text().splitlines()]
    names, values = [line for line in lines if line[0] == "Tcp:"]
    return int(dict(zip(names, values, strict=True))["InSegs"])


def test_segments_that_find_no_room_are_counted(shell: Shell) -> None:
    shell("ip link set lo mtu 1500")
    settings = Settings((Slow(),), Match(protocol="tcp"), buffer=1 << 14)
    before = segments()

    async def main() -> Summary:
        stop = trio.Event()

        async def talk() -> None:
            await trio.to_thread.run_sync(bulk)
            stop.set()

        async with trio.open_nursery() as nursery:
            return await shape(settings, started=lambda run: nursery.start_soon(talk), stop=stop)

    summary = trio.run(main)
    assert summary.bypassed
    assert summary.taken + summary.bypassed == segments() - before
    assert summary.lost == 0
