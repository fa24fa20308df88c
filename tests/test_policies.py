"""What holds for every policy, whatever its options and whatever packets come."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shaper import Duration, Packet, ms
from shaper.core.connections import FlowState
from shaper.core.verdict import Verdict
from shaper.spec.load import builtin_names, load
from shaper.timeline.packet_spec import Ends, PacketSpec, bytes_of
from shaper.wire.craft import too_big
from shaper.wire.header import ACK, SYN
from tests.any_options import ABOUT_ORDER, DISORDERLY, check_each_has_a_verdict, check_order, play, specs
from tests.examples import examples
from tests.traffic import anew, openings, traffic


def fates(verdicts: list[Verdict]) -> list[tuple[int, str, int]]:
    return [(verdict.packet.root.id, verdict.fate, verdict.planned) for verdict in verdicts]


@pytest.mark.parametrize("name", builtin_names())
@given(data=st.data())
@examples(12)
def test_no_packet_is_forgotten(name: str, data: st.DataObject) -> None:
    policy, packets = load(data.draw(specs(name))), data.draw(traffic())
    core, verdicts = play(policy, anew(packets))
    check_each_has_a_verdict(core, packets, verdicts)


@pytest.mark.parametrize("name", builtin_names())
@given(data=st.data())
@examples(12)
def test_the_seed_decides_all_chance(name: str, data: st.DataObject) -> None:
    spec = data.draw(specs(name))
    # A SYN from the service's port, or a SYN-ACK to it, would make the client's port the service.
    packets = openings() + [packet for packet in data.draw(traffic()) if not is_odd_opening(packet)]
    first = fates(play(load(spec), anew(packets), seed=7)[1])
    assert fates(play(load(spec), anew(packets), seed=7)[1]) == first
    assert fates(play(load(spec), anew(packets, ports_moved_by=100), seed=7)[1]) == first


def is_odd_opening(packet: Packet) -> bool:
    if packet.tcp is None or not packet.tcp.flags & SYN:
        return False
    return (packet.flow.dport if packet.tcp.flags & ACK else packet.flow.sport) == 80


@pytest.mark.parametrize("name", builtin_names())
@given(packets=traffic())
@examples(12)
def test_classes_that_are_not_asked_for_pass_at_once(name: str, packets: list[Packet]) -> None:
    _, verdicts = play(load(f"{name}:only=icmp"), anew(packets))
    for verdict in verdicts:
        if verdict.fate != "injected" and verdict.packet.kind != "icmp":
            assert verdict.fate == "sent"
            assert verdict.planned == verdict.packet.root.arrived
            assert not verdict.rewritten


@pytest.mark.parametrize("name", [name for name in builtin_names() if name not in DISORDERLY])
@given(data=st.data())
@examples(12)
def test_order_is_kept(name: str, data: st.DataObject) -> None:
    policy, packets = load(data.draw(specs(name, without=ABOUT_ORDER))), data.draw(traffic())
    check_order(play(policy, anew(packets))[1])


@given(
    packets=traffic(), gap=st.sampled_from((1 * ms, 20 * ms)), scope=st.sampled_from(("flow", "connection", "queue"))
)
@examples(12)
def test_spread_burst_keeps_the_gap(packets: list[Packet], gap: Duration, scope: str) -> None:
    core, verdicts = play(load(f"spread_burst:gap={gap}ns,scope={scope}"), anew(packets))
    assert core.counts.cut_short == 0
    departures: dict[Any, list[int]] = {}
    for verdict in verdicts:
        state = verdict.packet.flow_state
        assert isinstance(state, FlowState)
        whose = {"flow": state, "connection": state.connection, "queue": None}[scope]
        departures.setdefault(whose, []).append(verdict.planned)
    for times in departures.values():
        assert all(later - earlier >= gap for earlier, later in pairwise(times))


@given(packets=traffic(), time=st.sampled_from((0, 3 * ms, 100 * ms)))
@examples(12)
def test_delay_without_jitter_is_exact(packets: list[Packet], time: int) -> None:
    _, verdicts = play(load(f"delay:{time}ns"), anew(packets))
    assert all(verdict.planned == verdict.packet.root.arrived + time for verdict in verdicts)


@pytest.mark.parametrize("policy", ["ack_every", "hold_acks:mode=thin"])
@given(packets=traffic(), count=st.integers(1, 4))
@examples(12)
def test_thinning_drops_nothing_but_pure_acks(policy: str, packets: list[Packet], count: int) -> None:
    _, verdicts = play(load(f"{policy}{',' if ':' in policy else ':'}count={count}"), anew(packets))
    for verdict in verdicts:
        tcp = verdict.packet.tcp
        if verdict.fate == "dropped":
            assert verdict.packet.kind == "pure-ack"
            assert tcp is not None
            assert not tcp.sack
            assert tcp.flag_names == "A"


def test_an_icmp_error_about_a_flow_carries_none_of_its_bytes() -> None:
    """It meets the object of that flow, but `stall` waits for payload and `limit_data` counts it."""
    ends = Ends("192.0.2.1", 40000, "192.0.2.9", 53)
    asked = Packet(bytes_of(PacketSpec("udp", 8), ends, 1), 1)
    error = too_big(asked, 1280)
    assert error is not None
    for spec in ("stall:byte=1,time=1s", "limit_data:bytes=10"):
        packets = [Packet(error.raw, 1, 0), Packet(bytes_of(PacketSpec("udp", 8), ends.reverse, 2), 2, 1 * ms)]
        _, verdicts = play(load(spec), packets)
        wanted = 1001 * ms if spec.startswith("stall") else 1 * ms
        assert [(v.packet.id, v.fate, v.planned) for v in verdicts] == [(1, "sent", 0), (2, "sent", wanted)]


@pytest.mark.parametrize("gap", [0, 1 * ms])
def test_a_trace_with_a_line_a_millisecond_lets_800_packets_of_1500_bytes_pass_in_800_ms(
    tmp_path: Path, gap: int
) -> None:
    trace = tmp_path / "12mbit.trace"
    trace.write_text("1\n")
    ends = Ends("192.0.2.1", 40000, "192.0.2.9", 53)
    packets = [Packet(bytes_of(PacketSpec("udp", 1472), ends, n), n + 1, n * gap) for n in range(800)]
    _, verdicts = play(load(f"bandwidth_trace:{trace}"), packets)
    assert [verdict.planned for verdict in verdicts] == [n * ms for n in range(1, 801)]
