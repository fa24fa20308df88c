"""The contract of a policy: the options that every policy has."""

from __future__ import annotations

from typing import Any

import pytest

from shaper import Answer, Drop, Limit, Packet, Policy, ms
from shaper.core.core import Core
from shaper.timeline.packet_spec import Ends, PacketSpec, bytes_of
from shaper.wire.header import ACK, SYN
from tests.cores import ENDS, answering, late, run, udp


def test_only_these_classes_are_shaped() -> None:
    policy = answering(late)
    policy.only = frozenset({"syn"})
    core = Core([policy])
    opening = Packet(bytes_of(PacketSpec("tcp", 0, SYN, 1), ENDS, 1), 1)
    data = Packet(bytes_of(PacketSpec("tcp", 5, ACK, 2, 1), ENDS, 2), 2)
    assert run(core, opening, data) == [(2, "sent", 0), (1, "sent", 10 * ms)]


@pytest.mark.parametrize("scope", ["flow", "connection", "queue"])
@pytest.mark.parametrize(("direction", "shaped"), [("original", {1, 3}), ("reply", {2}), ("both", {1, 2, 3})])
def test_only_this_direction_is_shaped(scope: Any, direction: Any, shaped: set[int]) -> None:
    policy = answering(late)
    policy.scope, policy.direction = scope, direction
    fates = run(Core([policy]), udp(1), udp(2, 0, ENDS.reverse), udp(3))
    assert {number for number, _, planned in fates if planned} == shaped


@pytest.mark.parametrize(("limit", "dropped"), [(Limit(2), {3, 4}), (Limit(None, 76), {3, 4}), (Limit(), set())])
def test_beyond_its_limit_the_tail_is_dropped(limit: Limit, dropped: set[int]) -> None:
    policy = answering(late)
    policy.limit = limit
    core = Core([policy])
    fates = run(core, udp(1), udp(2), udp(3), udp(4), udp(5, 20 * ms))
    assert {number for number, fate, _ in fates if fate == "dropped"} == dropped
    assert (core.counts.overflowed, core.counts.dropped) == (len(dropped), len(dropped))


@pytest.mark.parametrize(("scope", "objects"), [("flow", 4), ("connection", 2), ("queue", 1)])
def test_scope_says_how_many_objects_there_are(scope: Any, objects: int) -> None:
    seen: set[int] = set()

    class Counts(Policy):
        def on_packet(self, packet: Packet, now: int) -> Answer:
            seen.add(id(self))
            return None

    other = Ends("192.0.2.1", 40001, "192.0.2.9", 80)
    run(
        Core([Counts(scope=scope)]),
        *(udp(n, 0, e) for n, e in enumerate((ENDS, ENDS.reverse, other, other.reverse), 1)),
    )
    assert len(seen) == objects


def test_state_is_an_objects_own() -> None:
    class Third(Policy):
        def start(self) -> None:
            self._seen = 0

        def on_packet(self, packet: Packet, now: int) -> Answer:
            self._seen += 1
            return Drop(packet) if self._seen % 3 == 0 else None

    core = Core([Third()])
    run(core, *(udp(n, n, ENDS if n % 2 else ENDS.reverse) for n in range(1, 31)))
    assert core.counts.dropped == 10
    prototype = Third()
    run(Core([prototype]), udp(1))
    assert not hasattr(prototype, "_seen")


@pytest.mark.parametrize("scope", ["flow", "connection", "queue"])
def test_only_a_share_of_the_connections_is_shaped_in_both_directions(scope: str) -> None:
    class Drops(Policy):
        def on_packet(self, packet: Packet, now: int) -> Answer:
            return Drop(packet)

    def shaped(moved: int, seed: int = 0) -> list[bool]:
        core = Core([Drops(connections=0.3, scope=scope)], seed=seed)
        found = []
        for port in range(2000):
            ends = Ends("192.0.2.1", 1024 + moved + port, "192.0.2.9", 80)
            for packet in (udp(1, ends=ends), udp(2, ends=ends.reverse)):
                core.receive(packet, 0)
            there, back = (verdict.fate for verdict in core.due(0))
            assert there == back
            found.append(there == "dropped")
        return found

    chosen = shaped(0)
    # Five standard errors.
    assert abs(sum(chosen) / 2000 - 0.3) < 5 * (0.3 * 0.7 / 2000) ** 0.5
    # Whatever ports the clients have.
    assert shaped(5000) == chosen
    assert shaped(0, seed=1) != chosen
