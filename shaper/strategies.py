"""Hypothesis strategies: a test searches for the packets, or the network, that break it, and shrinks to the smallest.

What they generate are SPECs, for `shaper.network.Network` and `--policy`. They need Hypothesis (extra `hunt`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from hypothesis import strategies as st

from shaper.experiment.hunt.plan import CARRIERS, HOLDS, MOST
from shaper.network import PacketSeen
from shaper.policy.fate import Fate, format_fates
from shaper.units import format_duration, parse_duration
from shaper.wire.naming import PacketName

Source = Iterable[PacketSeen] | Callable[[], Iterable[PacketSeen]]
ANY = tuple(
    PacketName("", connection, direction, kind, nth)
    for connection in (1, 2)
    for nth in (1, 2, 3)
    for kind, direction in (
        ("data", "reply"), ("data", "original"), ("udp", "reply"), ("udp", "original"),
        ("synack", "reply"), ("syn", "original"), ("fin", "reply"), ("fin", "original"), ("pure-ack", "original"),
    )
)  # fmt: skip
"""The packets that have fates where nobody knows which ones there are: the first of two connections."""
SHARES = ("1%", "2%", "5%", "10%", "20%")


def fates(packets: Source = (), *, longest: str = "500ms", most: int = MOST) -> st.SearchStrategy[str]:
    """SPECs of the policy `fates`: up to some packets are dropped, held, sent twice or overtaken; at first, none is.

    Args:
        packets: of an undisturbed run, as `Network.packets` has them, or a function that returns them: called once,
            when the first example is wanted. Without any, the first packets of two connections have fates.
        longest: no packet is held longer than this.
        most: the most packets that have a fate.

    Raises:
        ValueError: `longest` is no duration, or shorter than 1 ms.
    """
    holds = _up_to(longest)

    name = st.deferred(lambda: st.sampled_from(_names(packets() if callable(packets) else packets)))
    fate = st.one_of(
        st.builds(Fate, name, st.just("drop")),
        st.builds(Fate, name, st.just("hold"), st.sampled_from(holds)),
        st.builds(Fate, name, st.just("twice")),
        st.builds(Fate, name, st.just("behind"), st.integers(1, 3)),
    )
    chosen = st.lists(fate, max_size=most, unique_by=lambda each: each.packet)

    @st.composite
    def specs(draw: st.DrawFn) -> str:  # a function in `chosen.map` would be printed instead of its result
        return f"fates:{format_fates(tuple(draw(chosen)))}"

    return specs()


def policies(*, longest: str = "200ms", most: int = 2) -> st.SearchStrategy[tuple[str, ...]]:
    """Pipelines of up to `most` policies that a sound program withstands: late, lost, repeated and reordered packets.

    Args:
        longest: no packet is held longer than this.
        most: how many policies at most.

    Raises:
        ValueError: `longest` is no duration, or shorter than 1 ms.
    """
    times = st.sampled_from([format_duration(time) for time in _up_to(longest)])
    shares = st.sampled_from(SHARES)
    policy = st.one_of(
        times.map("delay:{}".format),
        shares.map("loss:{}".format),
        shares.map("duplicate:{}".format),
        shares.map("reorder:{}".format),
        times.map("spread_burst:{}".format),
        st.sampled_from(["data", "synack", "syn", "fin", "udp"]).map("drop_first:only={}".format),
        st.sampled_from([1, 10, 100]).map("slicer:size={}".format),
    )
    return st.lists(policy, max_size=most, unique_by=lambda spec: spec.partition(":")[0]).map(tuple)


def _up_to(longest: str) -> list[int]:
    latest = parse_duration(longest)
    found = [hold for hold in HOLDS if hold <= latest]
    if not found:
        raise ValueError(f"no packet is held for less than {format_duration(HOLDS[0])}, and '{longest}' is shorter")
    return found


def _names(packets: Iterable[PacketSeen]) -> Sequence[PacketName]:
    """Those that carry something first: Hypothesis shrinks towards the first."""
    names = dict.fromkeys(packet.name for packet in packets if packet.name is not None)
    return sorted(names, key=lambda name: name.kind not in CARRIERS) or ANY
