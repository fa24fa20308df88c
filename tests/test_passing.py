"""Packets that no policy wants go on without an object for each; what is known afterwards is the same as with one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from shaper import Policy
from shaper.core.core import Core, Following
from shaper.spec.load import load
from shaper.timeline.packet_spec import Ends, PacketSpec, bytes_of
from shaper.units import ms
from shaper.wire.header import ACK, FIN, SYN, plain_key
from shaper.wire.packet import Packet

ENDS = [Ends("192.0.2.1", 40000 + nth, "192.0.2.9", 80) for nth in range(2)]
ENDS += [each.reverse for each in ENDS]
DATAGRAM = PacketSpec("udp", 10)


class Traffic:
    """The same packets for two cores: one sees each as an object, the other as many as it can without."""

    def __init__(self, *policies: Policy) -> None:
        self.singly, self.together = (Core(list(policies)) for _ in range(2))
        self.number = 0

    def send(self, raws: Sequence[bytes], now: int) -> bool:
        """Returns whether they went on without objects."""
        packets = [Packet(raw, self.number + nth, now) for nth, raw in enumerate(raws, 1)]
        self.number += len(raws)
        for packet in packets:
            self.singly.receive(packet, now)
        passed = pass_on(self.together, raws, now)
        if not passed:
            for packet in packets:
                self.together.receive(Packet(packet.raw, packet.id, now), now)
        self.compare(now)
        return passed

    def compare(self, now: int) -> None:
        """Both cores give the same verdicts, on the packets that the second one has objects for, and count the same."""
        expected, found = ([said(verdict) for verdict in core.due(now)] for core in (self.singly, self.together))
        assert [verdict for verdict in expected if verdict in found] == found
        counts = [core.counts for core in (self.singly, self.together)]
        assert len({(each.taken, each.sent, each.dropped, each.held) for each in counts}) == 1


def said(verdict: Any) -> tuple[object, ...]:
    packet = verdict.packet
    return packet.id, packet.kind, packet.direction, verdict.fate, verdict.planned


def pass_on(core: Core, raws: Sequence[bytes], now: int) -> bool:
    return core.pass_on([(plain_key(raw), 1) for raw in raws], lambda: raws, now)


segments = some.builds(
    lambda size, flags, seq, ack: PacketSpec("tcp", size, flags, seq, ack),
    some.sampled_from([0, 10]),
    some.sampled_from([ACK, ACK | FIN, SYN, SYN | ACK]),
    some.integers(100, 120),
    some.integers(500, 520),
)
packets = some.tuples(some.one_of(some.just(DATAGRAM), segments), some.sampled_from(ENDS))


@given(some.lists(some.lists(packets, min_size=1, max_size=6), max_size=20), some.data())
def test_what_is_known_of_connections_is_the_same(batches: list[list[tuple[PacketSpec, Ends]]], data: Any) -> None:
    traffic = Traffic(load("pass_through"))
    for now, batch in enumerate(batches):
        traffic.send([bytes_of(spec, ends, now + 1) for spec, ends in batch], now * ms)
        if data.draw(some.integers(0, 9)) == 0:
            # Now each packet is an object, so that its class and direction can be compared.
            policy = data.draw(some.sampled_from(["delay:1ms", "delay:time=1ms,direction=reply", "pass_through"]))
            for core in (traffic.singly, traffic.together):
                core.replace([load(policy)], now * ms)
    traffic.compare(1000 * ms)


@pytest.mark.parametrize(
    ("policy", "passes"),
    [
        ("pass_through", True),
        ("delay:time=1ms,connections=0%", True),
        ("delay:time=1ms,only=syn", False),
        ("delay:time=1ms", False),
        ("loss:0%", False),
    ],
)
def test_only_what_no_policy_may_want_passes(policy: str, passes: bool) -> None:
    traffic = Traffic(load(policy))
    datagrams = [bytes_of(DATAGRAM, ENDS[0], 1)] * 3
    assert not traffic.send(datagrams, 0)  # the flow isn't known yet
    assert traffic.send(datagrams, 1 * ms) is passes
    assert traffic.send([*datagrams, bytes_of(DATAGRAM, ENDS[1], 1)], 2 * ms) is False


def test_a_paused_core_passes_packets_until_it_goes_on() -> None:
    core = Core([load("delay:1ms")])
    raw = bytes_of(DATAGRAM, ENDS[0], 1)
    core.receive(Packet(raw, 1, 0), 0)
    assert not pass_on(core, [raw], 0)
    core.pause(0)
    # While one is held, those that come later wait for it.
    assert not pass_on(core, [raw], 0)
    assert [verdict.packet.id for verdict in core.due(1 * ms)] == [1]
    core.receive(Packet(raw, 2, 2 * ms), 2 * ms)
    core.due(2 * ms)
    assert pass_on(core, [raw], 3 * ms)
    core.resume(4 * ms)
    assert not pass_on(core, [raw], 4 * ms)


def test_what_is_planned_before_they_came_happens_first() -> None:
    core = Core([load("pass_through")], then=[Following(5 * ms, [load("delay:1ms")])])
    raw = bytes_of(DATAGRAM, ENDS[0], 1)
    core.receive(Packet(raw, 1, 0), 0)
    assert not pass_on(core, [raw], 1 * ms)  # the verdict on the first isn't given yet
    core.due(1 * ms)
    assert pass_on(core, [raw], 4 * ms)
    assert core.now == 4 * ms
    assert not pass_on(core, [raw], 5 * ms)
    core.receive(Packet(raw, 3, 5 * ms), 5 * ms)
    assert core.next_deadline() == 6 * ms


def test_a_syn_is_looked_at() -> None:
    core = Core([load("pass_through")])
    data, syn = (bytes_of(PacketSpec("tcp", size, flags, 100, 500), ENDS[0], 1) for size, flags in ((9, ACK), (0, SYN)))
    core.receive(Packet(data, 1, 0), 0)
    core.due(0)
    assert pass_on(core, [data, data], 0)
    assert not pass_on(core, [data, syn], 0)


class Held(Policy):
    """Holds every packet for 3 ms, and says so."""

    @property
    def constant_hold(self) -> int | None:
        return 3 * ms

    def on_packet(self, packet: Packet, now: int) -> None:
        raise AssertionError


class Other(Held):
    """Does something else, whatever the class above says."""

    def on_packet(self, packet: Packet, now: int) -> None:
        return None


def test_a_constant_hold_is_not_asked_for() -> None:
    for policy, at in ((Held(), 3 * ms), (Other(), 0)):
        core = Core([policy, load("pass_through")])
        core.receive(Packet(bytes_of(DATAGRAM, ENDS[0], 1), 1, 0), 0)
        assert [verdict.planned for verdict in core.due(9 * ms)] == [at]
        assert not core.failures


def test_a_changed_hold_counts_from_the_next_packet() -> None:
    core = Core([load("delay:3ms")])
    raw = bytes_of(DATAGRAM, ENDS[0], 1)
    core.receive(Packet(raw, 1, 0), 0)
    core.change("delay", {"time": 5 * ms}, 1 * ms)
    core.receive(Packet(raw, 2, 1 * ms), 1 * ms)
    core.change("delay", {"jitter": 1 * ms, "time": 8 * ms}, 2 * ms)
    core.receive(Packet(raw, 3, 2 * ms), 2 * ms)
    planned = [verdict.planned for verdict in core.due(50 * ms)]
    assert planned[:2] == [3 * ms, 6 * ms]
    assert 9 * ms <= planned[2] <= 11 * ms
