"""TCP leaves segments uncut, up to 64 kB; a rule counts such a packet once, and the queue gets it cut up."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import trio

from shaper import Action, Packet, Policy
from shaper.live.rules.rules import Match
from shaper.live.run import Run
from shaper.live.session import Settings, shape
from shaper.live.summary import Summary
from shaper.spec.load import load
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


def shaped(settings: Settings, begun: Callable[[Run], None] = lambda run: None) -> Summary:
    """Shape a transfer; `begun` is called before it."""

    async def main() -> Summary:
        stop = trio.Event()

        async def talk(run: Run) -> None:
            begun(run)
            talking = threading.Thread(target=bulk)  # a thread of trio's may be of another test's network
            talking.start()
            while talking.is_alive():
                await trio.sleep(0.01)
            stop.set()

        async with trio.open_nursery() as nursery:
            return await shape(settings, started=lambda run: nursery.start_soon(talk, run), stop=stop)

    return trio.run(main)


def test_segments_that_find_no_room_are_counted(shell: Shell) -> None:
    shell("ip link set lo mtu 1500")
    before = segments()
    summary = shaped(Settings((Slow(),), Match(protocol="tcp"), buffer=1 << 14))
    assert summary.bypassed
    assert summary.taken + summary.bypassed == segments() - before
    assert summary.lost == 0


def test_segments_are_taken_uncut_where_all_policies_allow_it_until_one_does_not(shell: Shell) -> None:
    shell("ip link set lo mtu 1500")
    fixed = Settings((load("delay:1ms"), load("pass_through")), Match(protocol="tcp"), gso=None)
    summary = shaped(fixed)
    assert summary.uncut
    assert summary.taken + (summary.bypassed or 0) < AMOUNT // 1500  # cut, the data alone would be more
    for settings in (replace(fixed, gso=False), replace(fixed, policies=(load("loss:0%"),))):
        before = segments()
        summary = shaped(settings)
        assert not summary.uncut
        assert summary.taken == segments() - before
    before = segments()
    summary = shaped(fixed, lambda run: run.prepare([load("delay:1ms,jitter=1us")]))
    assert not summary.uncut
    assert summary.taken == segments() - before
