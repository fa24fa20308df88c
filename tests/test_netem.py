"""netem's models, over 100 000 packets in virtual time: rates, burst lengths and delays are the models'.

The bounds are five standard errors of what the model predicts; seeds are fixed, so each
test gives the same result every time.
"""

from __future__ import annotations

from itertools import groupby, pairwise
from math import exp
from statistics import fmean, pstdev

import pytest

from shaper import Packet, ms, s
from shaper.core.verdict import Verdict
from shaper.spec.load import load
from shaper.timeline.packet_spec import Ends, PacketSpec, bytes_of
from tests.any_options import play

N = 40_000
RAW = bytes_of(PacketSpec("udp", 100), Ends("192.0.2.1", 40000, "192.0.2.9", 80), 1)


def through(spec: str, *, gap: int = 1 * ms, count: int = N) -> list[Verdict]:
    """The verdicts on so many packets, one each millisecond."""
    core, verdicts = play(load(spec), [Packet(RAW, id=number, arrived=number * gap) for number in range(1, count + 1)])
    assert core.counts.cut_short == 0
    return verdicts


def losses(spec: str) -> list[bool]:
    fates = {verdict.packet.root.id: verdict.fate == "dropped" for verdict in through(spec)}
    return [fates[number] for number in range(1, N + 1)]


def runs(lost: list[bool]) -> list[int]:
    """The lengths of bursts of losses."""
    return [len(list(group)) for is_lost, group in groupby(lost) if is_lost]


def is_near(share: float, expected: float, *, inflation: float = 1.0) -> bool:
    """Within five standard errors of a share; correlation makes that error larger, by `inflation`."""
    error: float = (expected * (1 - expected) / N) ** 0.5
    return abs(share - expected) < 5 * inflation * error


@pytest.mark.parametrize("percent", [0.1, 1, 5, 50])
def test_random_loss(percent: float) -> None:
    lost = losses(f"loss:{percent}%")
    assert is_near(fmean(lost), percent / 100)
    # Independent losses: bursts have a geometric length.
    expected = 1 / (1 - percent / 100)
    assert abs(fmean(runs(lost)) - expected) < 5 * (expected * (expected - 1) / len(runs(lost))) ** 0.5 + 1e-9


def test_correlated_loss_comes_in_bursts() -> None:
    """netem's generator: losses cluster; their share is not what was asked for, see `Chance`."""
    lost = losses("loss:probability=40%,correlation=50%")
    # The sum of uniform numbers halved again and again is uniform only without correlation; 0.331 by integration.
    assert fmean(lost) < 0.4
    assert fmean(runs(lost)) > 1.3 / (1 - fmean(lost))


def test_gilbert_elliott() -> None:
    p, r, bad, good = 0.02, 0.3, 0.8, 0.005
    lost = losses(f"loss:model=gemodel,p={p:.0%},r={r:.0%},bad_loss={bad:.0%},good_loss={good:.1%}")
    in_bad = p / (p + r)
    expected = in_bad * bad + (1 - in_bad) * good
    # The chain's memory, 1 - p - r per packet, makes the error of a share larger by sqrt((1 + m) / (1 - m)).
    memory = 1 - p - r
    assert is_near(fmean(lost), expected, inflation=((1 + memory) / (1 - memory)) ** 0.5)


def test_simple_gilbert_bursts_are_geometric() -> None:
    lost = losses("loss:model=gemodel,p=2%,r=25%")
    lengths = runs(lost)
    # Mean 1 / r, standard deviation sqrt(1 - r) / r.
    assert abs(fmean(lengths) - 4) < 5 * (0.75**0.5 / 0.25) / len(lengths) ** 0.5


def test_four_states() -> None:
    p13, p31, p32, p23, p14 = 0.03, 0.4, 0.1, 0.5, 0.01
    text = f"p13={p13:.0%},p31={p31:.0%},p32={p32:.0%},p23={p23:.0%},p14={p14:.0%}"
    lost = losses(f"loss:model=state,{text}")
    # Stationary: state 3 = state 1 * p13 / p31; state 2 = state 3 * p32 / p23; state 4 = state 1 * p14.
    third, fourth = p13 / p31, p14
    second = third * p32 / p23
    expected = (third + fourth) / (1 + second + third + fourth)
    assert is_near(fmean(lost), expected, inflation=2.0)


def test_ecn_marks_as_many_as_would_be_lost() -> None:
    raw = bytes_of(PacketSpec("udp", 100, ecn=2), Ends("192.0.2.1", 40000, "192.0.2.9", 80), 1)
    _, verdicts = play(load("loss:5%,ecn=yes"), [Packet(raw, id=number) for number in range(1, 10_001)])
    marked = sum(verdict.rewritten for verdict in verdicts)
    _, verdicts = play(load("loss:5%"), [Packet(raw, id=number) for number in range(1, 10_001)])
    assert marked == sum(verdict.fate == "dropped" for verdict in verdicts) > 400


@pytest.mark.parametrize("percent", [1, 30])
def test_duplication(percent: int) -> None:
    verdicts = through(f"duplicate:{percent}%")
    copies = sum(verdict.fate == "injected" for verdict in verdicts)
    assert len(verdicts) == N + copies
    assert is_near(copies / N, percent / 100)


def test_corruption_flips_one_bit_anywhere_behind_the_ip_header() -> None:
    verdicts = through("corrupt:50%")
    changed = [verdict.packet.raw for verdict in verdicts if verdict.rewritten]
    assert is_near(len(changed) / N, 0.5)
    places = []
    for raw in changed:
        difference = int.from_bytes(raw) ^ int.from_bytes(RAW)
        assert difference.bit_count() == 1
        places.append(8 * len(RAW) - difference.bit_length())
    assert min(places) == 160
    assert max(places) == 8 * len(RAW) - 1
    assert set(places) == set(range(160, 8 * len(RAW)))


def test_rate_is_the_link_s_rate() -> None:
    verdicts = through("rate:1mbit", gap=1000, count=5000)
    times = [verdict.planned for verdict in verdicts]
    bits = (len(verdicts) - 1) * len(RAW) * 8
    assert bits * s / (times[-1] - times[0]) == pytest.approx(1_000_000, rel=1e-6)


def test_a_token_bucket_never_gives_more_than_its_burst_and_rate() -> None:
    times = [verdict.planned for verdict in through("rate:1mbit,burst=2kb", gap=100_000, count=3000)]
    size = len(RAW)
    for first in range(0, 3000, 37):
        for last in range(first, min(first + 400, 3000), 13):
            allowed = 2048 + size + (times[last] - times[first]) * 1_000_000 / 8 / s
            assert (last - first + 1) * size <= allowed


@pytest.mark.parametrize(
    ("distribution", "deviation"), [("uniform", 10 / 3**0.5), ("normal", 10.0), ("pareto", 8.2), ("paretonormal", 8.34)]
)
def test_delays_spread_as_asked_for(distribution: str, deviation: float) -> None:
    spec = f"delay:time=100ms,jitter=10ms,order=free,distribution={distribution}"
    held = [(verdict.planned - verdict.packet.root.arrived) / ms for verdict in through(spec)]
    assert pstdev(held) == pytest.approx(deviation, rel=0.03)
    assert abs(fmean(held) - 100) < 0.4


def test_reordered_share() -> None:
    verdicts = through("reorder:probability=5%,distance=3", gap=1000)
    seen, behind = 0, 0
    for verdict in verdicts:
        behind += verdict.packet.root.id < seen
        seen = max(seen, verdict.packet.root.id)
    assert is_near(behind / N, 0.05, inflation=1.2)


def test_slots_gather() -> None:
    verdicts = through("slot:min_delay=10ms", gap=1 * ms, count=10_000)
    sizes = [len(list(group)) for _, group in groupby(verdicts, key=lambda verdict: verdict.planned)]
    # The packet that opens a slot, those of the next 9 ms, and the one that comes with its end.
    assert set(sizes[:-1]) <= {10, 11}
    assert len(sizes) > 10_000 / 12


def test_reordering_sends_a_share_at_once() -> None:
    verdicts = through("delay:time=10ms,reorder=25%", gap=1 * ms)
    at_once = sum(verdict.planned == verdict.packet.root.arrived for verdict in verdicts)
    assert is_near(at_once / N, 0.25)


def test_reordering_with_a_gap() -> None:
    """At least gap - 1 packets are delayed between two that are not; then each is sent at once by chance."""
    verdicts = through("delay:time=10ms,reorder=50%,reorder_gap=5", gap=1 * ms)
    at_once = sorted(v.packet.root.id for v in verdicts if v.planned == v.packet.root.arrived)
    distances = [later - earlier for earlier, later in pairwise(at_once)]
    assert min(distances) == 5
    # Four delayed ones, then a geometric wait with mean 2.
    assert abs(fmean(distances) - 6) < 5 * 2**0.5 / len(distances) ** 0.5


def test_a_link_is_up_and_down_for_exponential_times() -> None:
    verdicts = through("flap:up=30ms,down=10ms,times=exponential", gap=1 * ms)
    down = runs([verdict.fate == "dropped" for verdict in verdicts])
    up = runs([verdict.fate == "sent" for verdict in verdicts])
    # Exponential: the deviation is the mean. A stay of t covers t packets on average, those without any are not seen:
    # the mean of those that are is 1 / (1 - exp(-1 / mean)).
    for lengths, mean in ((down, 10), (up, 30)):
        expected = 1 / (1 - exp(-1 / mean))
        assert abs(fmean(lengths) - expected) < 5 * expected / len(lengths) ** 0.5 + 0.5
        assert pstdev(lengths) == pytest.approx(mean, rel=0.15)


def test_codel_keeps_the_wait_near_its_target() -> None:
    """A sender 2 % too fast for the link, whose queue would grow by 20 ms each second."""

    def waits(spec: str) -> list[float]:
        sent = [verdict for verdict in through(spec, gap=980_000, count=20_000) if verdict.fate == "sent"]
        return [(verdict.planned - verdict.packet.root.arrived) / ms for verdict in sent]

    # 128 bytes take 1 ms.
    kept = waits("codel:rate=1024kbit,target=5ms,interval=100ms")
    assert len(kept) == pytest.approx(0.98 * 20_000, rel=0.01)
    assert fmean(kept[10_000:]) < 3 * 5
    assert max(waits("rate:1024kbit")) == pytest.approx(400, rel=0.01)
