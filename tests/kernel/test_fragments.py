"""Fragments at the hook `input`, where IPv6 is not reassembled: rules, classes and policies meet all of a datagram."""

import errno
import select
import socket
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import pytest

from tests.kernel.shaping import Receiver, Shaper

pytestmark = pytest.mark.usefixtures("network")
Shell = Callable[[str], str]
SIZE = 60_000
MBIT = 1_000_000


@pytest.fixture(autouse=True)
def mtu(shell: Shell) -> None:
    shell("ip link set lo mtu 1500")


def passes_in(receiver: Receiver) -> float:
    """How long a datagram takes, in seconds."""
    begin = time.monotonic()
    receiver.sender.send(bytes(SIZE))
    assert len(receiver.recv(65536)) == SIZE
    return time.monotonic() - begin


@pytest.mark.parametrize("match", ["--port={port}", "--filter=udp port {port}", "--protocol=udp"])
@pytest.mark.parametrize("only", ["", ",only=udp"])
@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_all_of_a_datagram_is_shaped(tmp_path: Path, network: None, address: str, match: str, only: str) -> None:
    with (
        Receiver(address) as receiver,
        Shaper(tmp_path, "--policy", f"rate:1mbit{only}", match.format(port=receiver.getsockname()[1])) as shaper,
    ):
        taken = [passes_in(receiver) for _ in range(3)]
        summary = shaper.stop()
    assert SIZE * 8 / MBIT <= median(taken) <= SIZE * 8 / MBIT + 0.2
    assert (summary["bypassed"], summary["dropped"]) == (0, 0)


@pytest.mark.parametrize("match", ["--port={port}", "--filter=udp port {port}"])
def test_fragments_of_other_datagrams_pass_untouched(tmp_path: Path, network: None, match: str) -> None:
    with (
        Receiver("::1") as shaped,
        Receiver("::1") as other,
        Shaper(tmp_path, "--policy", "loss:100%", match.format(port=shaped.getsockname()[1])) as shaper,
    ):
        shaped.sender.send(bytes(SIZE))
        assert passes_in(other) < 0.2
        assert shaped.rest() == []
        summary = shaper.stop()
    fragments = -(-SIZE // 1448)
    # All but the first of the other datagram were queued, too.
    assert (summary["taken"], summary["dropped"], summary["sent"]) == (2 * fragments - 1, fragments, fragments - 1)
    assert summary["bypassed"] == 0


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_once_the_sender_knows_the_mtu_its_datagrams_pass(tmp_path: Path, shell: Shell, address: str) -> None:
    shell("ip link set lo mtu 65536")
    with (
        Receiver(address) as receiver,
        Shaper(tmp_path, "--policy", "mtu:1280,icmp=yes", "--protocol", "udp") as shaper,
    ):
        receiver.send_numbers(1, bytes(3000))
        # The message reaches the socket as an error, once.
        ready = select.poll()
        ready.register(receiver.sender, 0)
        assert ready.poll(20_000)
        assert receiver.sender.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.EMSGSIZE
        receiver.send_numbers(10, bytes(3000))
        assert receiver.numbers(10) == list(range(10))
        summary = shaper.stop()
    assert (summary["dropped"], summary["injected"]) == (1, 1)
