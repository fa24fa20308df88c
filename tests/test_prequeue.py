"""The prequeue's counters, named after the kernel's, and its stages as the summary has them."""

import pytest

from shaper.core.core import Core
from shaper.spec.load import load
from shaper.timeline import parse
from shaper.timeline.packet_spec import Ends, PacketSpec, bytes_of
from shaper.timeline.run import run
from shaper.units import s
from shaper.wire.header import ACK, FIN, SYN
from shaper.wire.packet import Packet


@pytest.mark.parametrize(
    ("options", "packets", "counted"),
    [
        ("wake=30ms", "a b c", {"TCPPrequeued": 3}),
        ("wake=10s", "a b", {"TCPPrequeued": 2, "TCPSchedulerFailed": 1}),
        ("wake=30ms,max_segments=2", "a b", {"TCPPrequeued": 2, "TCPPrequeueDropped": 2}),
        ("wake=140ms,busy=60ms", "a", {"TCPPrequeued": 1, "DelayedACKLocked": 2}),
        ("reader=poll", "a b", {}),
    ],
)
def test_it_counts_as_the_kernel_did(options: str, packets: str, counted: dict[str, int]) -> None:
    core = Core([load("delay:1ms"), load(f"prequeue:{options}")])
    (story,) = parse(f"# pass_through\n+0  < {packets}\n")
    for packet in run(story).packets:
        core.receive(type(packet)(packet.raw, packet.id), 0)
    core.due(9 * s)
    assert core.counters == ({"prequeue": counted} if counted else {})


def test_a_late_handshake_does_not_overtake_what_waits() -> None:
    core = Core([load("prequeue:wake=5ms")])
    ends = Ends("192.0.2.9", 80, "192.0.2.1", 40001)
    for id, spec in enumerate((PacketSpec("tcp", 10, ACK, 1), PacketSpec("tcp", 0, SYN | ACK)), 1):
        core.receive(Packet(bytes_of(spec, ends, id), id), 0)
    assert core.due(0) == []
    assert [verdict.packet.id for verdict in core.due(9 * s)] == [1, 2]


def test_a_late_handshake_does_not_overtake_held_acks() -> None:
    core = Core([load("prequeue:reader=process")])
    ends = Ends("192.0.2.9", 80, "192.0.2.1", 40001)
    segments = [
        (ends.reverse, PacketSpec("tcp", 100, ACK, 1)),
        (ends, PacketSpec("tcp", 0, ACK, 1, 101)),
        (ends, PacketSpec("tcp", 0, SYN | ACK)),
    ]
    for id, (of, spec) in enumerate(segments, 1):
        core.receive(Packet(bytes_of(spec, of, id), id), 0)
    assert [verdict.packet.id for verdict in core.due(0)] == [1, 2, 3]


def test_counters_begin_at_zero_in_each_core() -> None:
    policy = load("prequeue:wake=1ms")
    for _ in range(2):
        core = Core([policy])
        (story,) = parse("# pass_through\n+0  < a\n")
        core.receive(type(run(story).packets[0])(run(story).packets[0].raw, 1), 0)
        assert core.counters == {"prequeue": {"TCPPrequeued": 1}}


@pytest.mark.parametrize("hold", ["data", "acks"])
def test_a_segment_whose_header_was_not_copied_does_not_overtake_what_waits(hold: str) -> None:
    client = Ends("192.0.2.1", 40001, "192.0.2.9", 80)
    server = client.reverse
    data, more = (bytes_of(PacketSpec("tcp", 100, ACK, seq, 1), client, seq) for seq in (1, 101))
    ack, fin = (bytes_of(PacketSpec("tcp", 0, flags, 1, 101), server, flags) for flags in (ACK, ACK | FIN))
    core = Core([load(f"prequeue:wake=5ms,hold={hold}")])
    for id, raw in enumerate((data, ack, more[:30], fin[:30]), 1):
        core.receive(Packet(raw, id), 0)
    order = [verdict.packet.id for verdict in core.due(0)]
    assert sorted(order) == [1, 2, 3, 4]
    assert order.index(1) < order.index(3)
    assert order.index(2) < order.index(4)
