"""`shaper.strategies`: Hypothesis finds the packet that breaks a program, and shrinks to it."""

from __future__ import annotations

import re

import pytest
from hypothesis import find, given, settings

from shaper.policy.fate import Fate, parse_fates
from shaper.spec.load import load_pipeline
from shaper.strategies import fates, policies
from tests.testing.conftest import Suite

SOON = settings(max_examples=200, deadline=None, database=None)


@given(spec=fates())
@settings(max_examples=30)
def test_fates_can_be_used_as_a_policy(spec: str) -> None:
    load_pipeline([spec])
    assert len(parse_fates(spec.removeprefix("fates:"))) <= 5


@given(specs=policies())
@settings(max_examples=30)
def test_policies_can_be_used_as_a_pipeline(specs: tuple[str, ...]) -> None:
    assert len(load_pipeline(specs)) == len(specs) <= 2


def test_the_simplest_is_an_undisturbed_network() -> None:
    assert find(fates(), lambda spec: True, settings=SOON) == "fates:none"
    assert find(policies(), lambda specs: True, settings=SOON) == ()


def test_it_shrinks_to_one_packet_and_the_shortest_hold() -> None:
    def breaks(spec: str) -> bool:
        found = parse_fates(spec.removeprefix("fates:"))
        return any(fate.what == "hold" and fate.amount >= 20_000_000 for fate in found)

    (fate,) = parse_fates(find(fates(), breaks, settings=SOON).removeprefix("fates:"))
    assert fate == Fate.parse("#1 reply data 1: hold 20ms")


@pytest.mark.parametrize("longest", ["1us", "soon"])
def test_a_longest_hold_that_is_none(longest: str) -> None:
    with pytest.raises(ValueError, match=longest):
        fates(longest=longest)


BOOKING = """
from hypothesis import Phase, given, settings
from shaper.network import Network
from shaper.strategies import fates

def book():
    # A client that asks again, and a server that books for each request.
    booked, is_over = 0, threading.Event()
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
    ):
        server.bind(("127.0.0.1", 7008))
        server.settimeout(0.02)
        client.settimeout(0.1)

        def serve():
            nonlocal booked
            while not is_over.is_set():
                with contextlib.suppress(TimeoutError):
                    _, peer = server.recvfrom(512)
                    booked += 1
                    server.sendto(b"booked", peer)

        serving = threading.Thread(target=serve)
        serving.start()
        for _ in range(3):
            client.sendto(b"seat 4", ("127.0.0.1", 7008))
            with contextlib.suppress(TimeoutError):
                client.recv(512)
                break
        is_over.set()
        serving.join()
    return booked

def undisturbed():
    with Network() as network:
        network.call(book)
        return network.packets

@settings(deadline=None, derandomize=True, phases=[Phase.generate, Phase.shrink])
@given(spec=fates(undisturbed, longest="200ms"))
def test_it(spec):
    with Network(spec) as network:
        assert network.call(book) == 1
"""


def test_the_falsifying_example_is_the_packet_that_breaks_it(suite: Suite) -> None:
    done = suite(BOOKING)
    done.assert_outcomes(failed=1)
    assert re.search(r"spec='fates:udp/7008 #1 reply udp 1: (drop|hold \d+ms)'", done.stdout.str())
