"""Packets that are held as trains: what becomes of each, and when, is the same as with an object for each."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from shaper import Policy
from shaper.core.core import Core, Following
from shaper.core.train import Came
from shaper.core.verdict import Verdict
from shaper.spec.load import load
from shaper.timeline.packet_spec import Ends, PacketSpec, bytes_of
from shaper.units import ms, s
from shaper.wire.header import ACK, FIN, SYN, plain_key
from shaper.wire.packet import Packet
from tests.examples import examples

ENDS = [Ends("192.0.2.1", 40000 + nth, "192.0.2.9", 80) for nth in range(2)]
ENDS += [each.reverse for each in ENDS]
DATAGRAM = PacketSpec("udp", 10)
ECHO = PacketSpec("icmp", 10)
Left = tuple[int, int, int, str]
"""What became of a packet: its number, when it arrived, when it went on, its fate."""


def hold_alike(core: Core, packets: Sequence[Packet]) -> bool:
    """Whether the core holds these packets as trains."""
    runs = [(key, len(list(run))) for key, run in groupby(plain_key(packet.raw) for packet in packets)]
    came = Came(*zip(*((packet.id, packet.arrived, packet.raw) for packet in packets), strict=True))
    return core.hold_alike(runs, lambda: came, packets[-1].arrived) is not None


class Traffic:
    """The same packets for two cores: one sees each as an object, the other as many as it can as trains."""

    def __init__(self, policy: Policy, **options: Any) -> None:
        self.singly, self.together = (Core([policy], **options) for _ in range(2))
        self.number = 0
        self.left: tuple[list[Left], list[Left]] = ([], [])

    def send(self, raws: Sequence[bytes], now: int, step: int = 0) -> bool:
        """They arrive `step` ns after each other; returns whether they are held as trains."""
        packets = [Packet(raw, self.number + nth + 1, now + nth * step) for nth, raw in enumerate(raws)]
        self.number += len(raws)
        for packet in packets:
            self.singly.receive(packet, packet.arrived)
        held = hold_alike(self.together, packets)
        for packet in [] if held else packets:
            self.together.receive(Packet(packet.raw, packet.id, packet.arrived), packet.arrived)
        return held

    def compare(self, now: int, *, as_trains: bool = True) -> None:
        """Up to now, both cores did the same, and have the same to do next.

        Args:
            now: in ns.
            as_trains: whether the packets of trains that go on are asked for, too, or all are to become packets.
        """
        singly, together = self.left
        singly += map(said, self.singly.due(now))
        for train, begin, end in self.together.let_go(now) if as_trains else ():
            together += [(train.ids[nth], train.arrived[nth], train.due(nth), "sent") for nth in range(begin, end)]
        together += map(said, self.together.due(now))
        assert together == singly
        assert self.singly.next_deadline() == self.together.next_deadline()
        counts = [core.counts for core in (self.singly, self.together)]
        assert len({(each.taken, each.sent, each.dropped, each.held, each.cut_short) for each in counts}) == 1
        assert self.singly.stages == self.together.stages


def said(verdict: Verdict) -> Left:
    return verdict.packet.id, verdict.packet.root.arrived, verdict.planned, verdict.fate


def described(verdict: Verdict) -> tuple[object, ...]:
    """All that is known of a packet that goes on."""
    root = verdict.packet.root
    return *said(verdict), root.kind, root.direction, root.hold_times, root.taken


segments = some.builds(
    lambda size, flags, seq, ack: PacketSpec("tcp", size, flags, seq, ack),
    some.sampled_from([0, 10]),
    some.sampled_from([ACK, ACK, ACK | FIN, SYN]),
    some.integers(100, 120),
    some.integers(500, 520),
)
batch = some.builds(
    lambda spec, ends, count: [(spec, ends)] * count,
    some.one_of(some.just(DATAGRAM), some.just(DATAGRAM), segments),
    some.sampled_from(ENDS),
    some.integers(1, 8),
)
batches = some.lists(batch, min_size=1, max_size=3).map(lambda runs: [packet for run in runs for packet in run])
acts = some.sampled_from(
    ("nothing",) * 6
    + ("change", "jitter", "limit", "replace", "pause", "resume", "release", "look", "close")
)  # fmt: skip


def do(core: Core, act: str, now: int) -> list[Verdict]:
    match act:
        case "change":
            core.change("delay", {"time": 7 * ms if len(core.changes) % 2 else 5 * ms}, now)
        case "jitter":
            core.change("delay", {"jitter": ms}, now)
        case "limit":
            core.change("delay", {"limit": load("delay:limit=3").limit}, now)
        case "replace":
            core.replace([load("delay:5ms")], now)
        case "pause" | "resume" | "release":
            getattr(core, act)(now)
        case "close":
            return core.close()
    return []


steps = some.tuples(
    batches, some.sampled_from((0, 0, 1, ms // 10, 3 * ms)), acts, some.sampled_from((0, 1, 2 * ms, 40 * ms))
)


@given(some.lists(steps, max_size=15))
@examples(200)
def test_what_becomes_of_packets_is_the_same(steps: list[tuple[list[tuple[PacketSpec, Ends]], int, str, int]]) -> None:
    traffic, now = Traffic(load("delay:5ms")), 1
    for specs, step, act, later in steps:
        traffic.send([bytes_of(spec, ends, now) for spec, ends in specs], now, step)
        now += (len(specs) - 1) * step
        traffic.compare(now, as_trains=act != "look")
        now += later
        cores = (traffic.singly, traffic.together)
        expected, found = ([described(verdict) for verdict in do(core, act, now)] for core in cores)
        assert without_taken(found) == without_taken(expected)
        if act == "close":
            return
        traffic.compare(now)
    while (deadline := traffic.singly.next_deadline()) is not None:
        traffic.compare(deadline)
        traffic.compare(deadline + 1)


def without_taken(found: list[tuple[object, ...]]) -> list[tuple[object, ...]]:
    """Packets of a train were taken together."""
    return [each[:-1] for each in found]


def sent(traffic: Traffic, count: int = 3) -> bool:
    """Whether so many datagrams are held as trains, after one that makes their flow known."""
    raw = bytes_of(DATAGRAM, ENDS[0], 1)
    traffic.send([raw], 0)
    traffic.compare(0)
    return traffic.send([raw] * count, 1 * ms)


@pytest.mark.parametrize(
    ("policy", "is_held"),
    [
        ("delay:5ms", True),
        ("delay:time=5ms,scope=queue", True),
        ("delay:time=5ms,jitter=1ms", False),
        ("delay:time=5ms,limit=100", False),
        ("delay:time=5ms,only=udp", False),
        ("delay:time=5ms,direction=original", False),
        ("delay:time=5ms,connections=50%", False),
        ("delay:11s", False),
        ("delay:0ms", False),
        ("pass_through", False),
        ("loss:0%", False),
    ],
)
def test_only_what_is_held_for_the_same_time_becomes_a_train(policy: str, is_held: bool) -> None:
    assert sent(Traffic(load(policy))) is is_held


def test_two_policies_make_no_trains() -> None:
    core = Core([load("delay:5ms"), load("delay:5ms")])
    raw = bytes_of(DATAGRAM, ENDS[0], 1)
    core.receive(Packet(raw, 1, 0), 0)
    assert not hold_alike(core, [Packet(raw, 2, 0)])


def test_whether_packets_may_be_held_as_trains_is_known_from_the_one_before() -> None:
    traffic = Traffic(load("delay:5ms"))
    assert not traffic.together.may_hold_alike
    assert sent(traffic)
    assert traffic.together.may_hold_alike
    traffic.together.pause(2 * ms)
    traffic.together.receive(Packet(bytes_of(DATAGRAM, ENDS[0], 1), 9, 2 * ms), 2 * ms)
    assert not traffic.together.may_hold_alike


def test_an_echo_is_no_part_of_a_train() -> None:
    traffic = Traffic(load("delay:5ms"))
    raw = bytes_of(ECHO, ENDS[0], 1)
    assert not traffic.send([raw], 0)
    assert not traffic.send([raw] * 3, 0)


def test_a_train_waits_for_nothing_planned_later() -> None:
    traffic = Traffic(load("delay:5ms"))
    assert sent(traffic)
    for core in (traffic.singly, traffic.together):
        core.change("delay", {"time": 2 * ms}, 1 * ms)
    other = bytes_of(DATAGRAM, ENDS[1], 1)
    assert not traffic.send([other], 1 * ms)
    assert not traffic.send([other] * 3, 1 * ms)
    traffic.compare(1 * s)
    assert [number for number, *_ in traffic.left[0]] == [5, 6, 7, 8, 1, 2, 3, 4]
    assert traffic.send([other] * 3, 1 * s)


def test_a_phase_that_begins_meanwhile_gets_packets() -> None:
    traffic = Traffic(load("delay:5ms"), then=[Following(2 * ms, [load("delay:9ms")])])
    assert sent(traffic)
    assert not traffic.send([bytes_of(DATAGRAM, ENDS[0], 1)] * 3, 2 * ms)
    traffic.compare(1 * s)


def test_a_train_goes_on_in_parts() -> None:
    core = Core([load("delay:5ms")])
    raw = bytes_of(DATAGRAM, ENDS[0], 1)
    core.receive(Packet(raw, 1, 0), 0)
    assert hold_alike(core, [Packet(raw, 2 + nth, nth * ms) for nth in range(4)])
    assert core.let_go(9 * ms) == []  # the first packet is none of a train
    assert [verdict.packet.id for verdict in core.due(5 * ms)] == [1, 2]
    # Asked for all that was due, the core made packets of all.
    assert core.let_go(9 * ms) == []
    core.due(9 * ms)
    assert hold_alike(core, [Packet(raw, 6 + nth, (10 + nth) * ms) for nth in range(4)])
    assert [(begin, end) for _, begin, end in core.let_go(15 * ms)] == [(0, 1)]
    assert core.next_deadline() == 16 * ms
    assert [(begin, end) for _, begin, end in core.let_go(17 * ms + 1)] == [(1, 3)]
    (verdict,) = core.close()
    assert described(verdict) == (9, 13 * ms, 17 * ms, "sent", "udp", "original", (("delay", 4 * ms),), 13 * ms)
    assert core.counts.held == 0
