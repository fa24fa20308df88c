"""The prequeue on the wire: when the receiver's ACKs go out."""

from __future__ import annotations

import fcntl
import json
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from shaper.cli import main
from shaper.journal import read_journal
from shaper.units import ms
from shaper.wire.packet import Packet
from tests.captures import frames, ip_of
from tests.kernel.shaping import Shaper
from tests.schema import schema

pytestmark = [pytest.mark.usefixtures("network"), pytest.mark.alone]

SIOCOUTQ = 0x5411  # linux/sockios.h
MESSAGE = bytes(1000)


@contextmanager
def conversation() -> Iterator[tuple[socket.socket, socket.socket]]:
    """A connection: the sender's and the receiver's end. The receiver acknowledges each segment at once."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as sender:
        receiver, _ = server.accept()
        with receiver:
            receiver.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
            yield sender, receiver


def wait_until_acknowledged(sender: socket.socket) -> None:
    deadline = time.monotonic() + 10
    while struct.unpack("i", fcntl.ioctl(sender, SIOCOUTQ, bytes(4)))[0]:
        assert time.monotonic() < deadline
        time.sleep(0.001)  # there is no event for this


def acknowledged_after(capture: Path) -> float:
    """ms from the first segment with payload as it came to the ACK of it as it went."""
    found = [(frame.interface.name, frame.at, Packet(ip_of(frame))) for frame in frames(capture)]
    came, end = next(
        (at, packet.tcp.seq + packet.tcp.payload)
        for interface, at, packet in found
        if interface == "arrived" and packet.tcp is not None and packet.tcp.payload
    )
    went = next(at for interface, at, packet in found if interface == "sent" and packet.tcp and packet.tcp.ack == end)
    return (went - came) / 1e6


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ("wake=30ms", 30),
        ("wake=30ms,hold=acks", 30),
        ("wake=10s", 150),
        ("wake=10s,hold=acks", 150),
        ("wake=30ms,reader=poll", 0),
        ("wake=30ms,reader=none", 0),
        ("wake=30ms,low_latency=yes", 0),
    ],
)
def test_acks_wait_for_the_reader_or_the_timer(options: str, wanted: int, tmp_path: Path) -> None:
    capture = tmp_path / "capture.pcapng"
    with Shaper(tmp_path, "--policy", f"prequeue:{options}", "--protocol", "tcp", "--pcap", str(capture)) as shaper:
        with conversation() as (sender, receiver):
            reader = threading.Thread(target=receiver.recv, args=(2000,))
            reader.start()
            sender.send(MESSAGE)
            wait_until_acknowledged(sender)
            reader.join()
        assert shaper.stop()["cut_short"] == 0
    assert wanted <= acknowledged_after(capture) < wanted + 25


@pytest.mark.parametrize(("reads_after", "least", "most"), [(0, 0, 25), (0.05, 50, 80), (0.5, 150, 175)])
def test_acks_wait_for_the_real_reader(reads_after: float, least: int, most: int, tmp_path: Path) -> None:
    """At once, when it reads, or by the timer; with the journal's signals a replay has them wait as long."""
    capture, journal, again = tmp_path / "capture.pcapng", tmp_path / "journal", tmp_path / "again"
    policy = ("--policy", "prequeue:reader=process")
    with Shaper(tmp_path, *policy, "--protocol", "tcp", "--pcap", str(capture), "--journal", str(journal)) as shaper:
        with conversation() as (sender, receiver):
            sender.send(MESSAGE)
            time.sleep(reads_after)
            receiver.recv(2000)
            wait_until_acknowledged(sender)
        shaper.stop()
    assert least <= acknowledged_after(capture) < most
    for line in journal.read_text().splitlines():
        schema("journal").validate(json.loads(line))
    assert main(["replay", str(capture), *policy, "--changes", str(journal), "--journal", str(again)]) == 0
    assert holds(again) == pytest.approx(holds(journal), abs=5 * ms)


def holds(journal: Path) -> list[int]:
    """How long each packet was held, in ns, in order of their arrival."""
    records = sorted(read_journal(journal)[1], key=lambda record: record.id)
    return [sum(held.ns for held in record.held) for record in records]
