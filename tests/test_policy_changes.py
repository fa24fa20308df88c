"""The options of every built-in policy, changed while packets flow."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shaper import Packet, ms
from shaper.core.change import ChangeError
from shaper.core.core import Core
from shaper.spec.load import builtin_names, load, parse_options
from shaper.timeline.packet_spec import PacketSpec, bytes_of
from shaper.units import s
from tests.any_options import (
    ABOUT_ORDER,
    DISORDERLY,
    changes,
    check_each_has_a_verdict,
    check_order,
    play,
    specs,
)
from tests.cores import ENDS, Said, run, udp
from tests.examples import examples
from tests.traffic import anew, traffic


@pytest.mark.parametrize("name", builtin_names())
@given(data=st.data())
@examples(12)
def test_no_packet_is_forgotten(name: str, data: st.DataObject) -> None:
    policy, packets = load(data.draw(specs(name))), data.draw(traffic())
    core, verdicts = play(policy, anew(packets), data.draw(changes(name)))
    check_each_has_a_verdict(core, packets, verdicts)


@pytest.mark.parametrize("name", [name for name in builtin_names() if name not in DISORDERLY])
@given(data=st.data())
@examples(12)
def test_order_is_kept(name: str, data: st.DataObject) -> None:
    policy, packets = load(data.draw(specs(name, without=ABOUT_ORDER))), data.draw(traffic())
    check_order(play(policy, anew(packets), data.draw(changes(name, without=ABOUT_ORDER)))[1])


def story(spec: str, *steps: tuple[int, int | dict[str, str]]) -> Said:
    """What becomes of packets of 38 bytes; a step is a time and the packet's number, or options from then on."""
    core, said = Core([load(spec)]), []
    for at, what in steps:
        if isinstance(what, dict):
            core.change(core.names[0], parse_options(core.prototypes[0], what), at)
        else:
            core.receive(udp(what, at), at)
        said += [(verdict.packet.id, verdict.fate, verdict.planned) for verdict in core.due(at)]
    return said + run(core)


@pytest.mark.parametrize(
    ("spec", "steps", "said"),
    [
        pytest.param(
            "rate:1mbit,overhead=87",  # each packet takes 1 ms
            [(0, 1), (0, 2), (0, {"rate": "2mbit"}), (0, 3), (2 * ms, {"rate": "0"}), (2 * ms, 4)],
            [(1, "sent", 1 * ms), (2, "sent", 2 * ms), (3, "sent", 2 * ms + ms // 2), (4, "sent", 2 * ms + ms // 2)],
            id="rate: the queue goes on",
        ),
        pytest.param(
            "rate:1mbit,overhead=87",
            [(0, 1), (9 * ms, {"burst": "250b"}), (10 * ms, 2), (10 * ms, 3), (10 * ms, 4)],
            [(1, "sent", 1 * ms), (2, "sent", 10 * ms), (3, "sent", 10 * ms), (4, "sent", 11 * ms)],
            id="rate: a bucket",
        ),
        pytest.param(
            "rate:1mbit,overhead=87",
            [(0, 1), (0, 2), (0, {"limit": "2"}), (0, 3), (1 * ms, 4)],
            [(3, "dropped", 0), (1, "sent", 1 * ms), (2, "sent", 2 * ms), (4, "sent", 3 * ms)],
            id="rate: a limit counts what is queued",
        ),
        pytest.param(
            "codel:1kbit",
            [(0, 1), (0, 2), (0, 3), (0, {"rate": "0"}), (1 * ms, 4)],
            [(1, "sent", 304 * ms), (2, "sent", 304 * ms), (3, "sent", 304 * ms), (4, "sent", 304 * ms)],
            id="codel: without a rate the queue goes on when the link is free",
        ),
        pytest.param(
            "delay:10ms",
            [(0, 1), (1 * ms, {"rate": "1mbit", "overhead": "87"}), (1 * ms, 2), (1 * ms, 3)],
            [(1, "sent", 10 * ms), (2, "sent", 12 * ms), (3, "sent", 13 * ms)],
            id="delay: a link at its end",
        ),
        pytest.param(
            "delay:10ms",
            [
                (0, 1),
                (20 * ms, {"jitter": "5ms"}),
                (20 * ms, 2),
                (20 * ms, {"jitter": "0", "time": "1ms"}),
                (50 * ms, 3),
            ],
            [(1, "sent", 10 * ms), (2, "sent", 26741264), (3, "sent", 51 * ms)],
            id="delay: with jitter for a while",
        ),
        pytest.param(
            "blackhole:50ms,after=20ms",
            [(0, 1), (10 * ms, {"after": "0"}), (10 * ms, 2), (40 * ms, {"duration": "30ms"}), (40 * ms, 3)],
            [(1, "sent", 0), (2, "dropped", 10 * ms), (3, "sent", 40 * ms)],
            id="blackhole: it begins and ends at other times",
        ),
        pytest.param(
            "flap:1s,up=10ms",
            [(0, 1), (20 * ms, 2), (30 * ms, {"down": "30ms"}), (30 * ms, 3), (40 * ms, 4), (50 * ms, 5)],
            [
                (1, "sent", 0),
                (2, "dropped", 20 * ms),
                (3, "dropped", 30 * ms),
                (4, "sent", 40 * ms),
                (5, "dropped", 50 * ms),
            ],
            id="flap: the time that it is down already",
        ),
        pytest.param(
            "loss:packets=2",
            [(0, 1), (0, {"packets": "3"}), (0, 2), (0, 3), (0, {"packets": "none", "probability": "100%"}), (0, 4)],
            [(1, "sent", 0), (2, "sent", 0), (3, "dropped", 0), (4, "dropped", 0)],
            id="loss: the count goes on",
        ),
        pytest.param(
            "loss:0%",
            [(0, 1), (0, {"model": "state", "p13": "0", "p14": "100%"}), (0, 2), (0, {"model": "random"}), (0, 3)],
            [(1, "sent", 0), (2, "dropped", 0), (3, "sent", 0)],
            id="loss: another model",
        ),
        pytest.param(
            "limit_data:bytes=15,then=drop",
            [(0, 1), (0, 2), (0, {"bytes": "30"}), (0, 3), (0, 4)],
            [(1, "sent", 0), (2, "dropped", 0), (3, "sent", 0), (4, "dropped", 0)],
            id="limit_data: a higher limit opens the flow again",
        ),
        pytest.param(
            "slot:10ms,packets=1",
            [(0, 1), (0, 2), (0, 3), (1 * ms, {"min_delay": "0"}), (1 * ms, 4)],
            [(1, "sent", 10 * ms), (2, "sent", 10 * ms), (3, "sent", 10 * ms), (4, "sent", 10 * ms)],
            id="slot: without slots all go in the one that was planned",
        ),
        pytest.param(
            "spread_burst:10ms",
            [(0, 1), (0, 2), (0, {"gap": "1ms"}), (0, 3)],
            [(1, "sent", 0), (2, "sent", 10 * ms), (3, "sent", 11 * ms)],
            id="spread_burst: the new gap counts from the last departure",
        ),
        pytest.param(
            "slow_close:only=udp,time=1s",
            [(0, 1), (0, {"time": "1ms"}), (0, 2)],
            [(1, "sent", 1 * s), (2, "sent", 1 * s)],
            id="slow_close: a change overtakes nothing",
        ),
    ],
)
def test_what_is_done_from_then_on(spec: str, steps: list[tuple[int, int | dict[str, str]]], said: Said) -> None:
    assert story(spec, *steps) == said


def test_another_trace_begins_when_the_link_is_free() -> None:
    core, full = Core([load("bandwidth_trace")]), bytes_of(PacketSpec("udp", 1472), ENDS, 1)
    for number in range(1, 5):
        core.receive(Packet(full, number), 0)
    core.change("bandwidth_trace", {"trace": (2, 10)}, 0)
    for number in range(5, 7):
        core.receive(Packet(full, number), 0)
    assert [planned // ms for _, _, planned in run(core)] == [1, 2, 3, 4, 6, 14]


def test_another_schedule_of_fates_does_not_meet_the_packets_before_it() -> None:
    core = Core([load('fates:"udp/80 #1 original udp 1: drop; udp/80 #1 original udp 9: drop"')])
    assert run(core, udp(1)) == [(1, "dropped", 0)]
    options = {"schedule": "udp/80 #1 original udp 1: drop; udp/80 #1 original udp 2: drop"}
    core.change("fates", parse_options(core.prototypes[0], options), 0)
    assert run(core, udp(2), udp(3)) == [(2, "dropped", 0), (3, "sent", 0)]
    assert core.counters == {"fates": {"met": 2, "not met": 1}}  # a packet that came before is not met again


def test_handshake_steps_have_other_times() -> None:
    core = Core([load("handshake:syn=10ms")])
    core.change("handshake", {"syn": 20 * ms}, 0)
    syn = Packet(
        bytes.fromhex("4500002800010000400600007f0000017f0000019c40223d000003e8000000005002200000000000"), 1, 0
    )
    assert run(core, syn) == [(1, "sent", 20 * ms)]
    core.change("handshake", {"syn": 0}, s)
    again = Packet(syn.raw, 2, s)
    assert run(core, again) == [(2, "sent", s)]


@pytest.mark.parametrize(("option", "value"), [("reader", "process"), ("low_latency", "yes")])
def test_prequeue_refuses_to_watch_the_reader_from_now_on(option: str, value: str) -> None:
    core = Core([load("prequeue" if option == "reader" else "prequeue:reader=process")])
    with pytest.raises(ChangeError, match="prequeue: whether the real reader is watched"):
        core.change("prequeue", parse_options(core.prototypes[0], {option: value}), 0)
    core.change("prequeue", {"wake": 1 * ms}, 0)
