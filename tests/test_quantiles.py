"""How long policies held packets: exact, whether counted or kept one by one."""

from array import array
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from shaper.core.verdict import Verdict
from shaper.report import quantiles
from shaper.report.quantiles import HoldsByPolicy, Quantiles, nth
from shaper.wire.packet import Packet

durations = st.lists(st.integers(0, 10**10) | st.integers(0, 20), min_size=1)


def plain(values: list[int]) -> Quantiles:
    ordered = sorted(values)
    p50, p99 = (ordered[-(-len(values) * percent // 100) - 1] for percent in (50, 99))
    return Quantiles(len(values), p50, p99, ordered[-1])


@given(durations)
def test_counted_durations_give_the_same(values: list[int]) -> None:
    assert Quantiles.of(values) == Quantiles.of_counted(Counter(values)) == plain(values)


def test_many_durations_are_not_sorted_at_once() -> None:
    values = array("q", (index * index % 1_000_003 for index in range(quantiles.SORTED * 3)))
    ordered = sorted(values)
    for rank in (1, 17, len(values) // 2, len(values)):
        assert nth(values, rank) == ordered[rank - 1]
    assert nth(array("q", [7]) * (quantiles.SORTED + 1), 5) == 7


def test_more_different_holds_than_are_counted() -> None:
    holds = HoldsByPolicy(["delay", "rate"])
    number = quantiles.COUNTED + 10
    for index in range(number):
        packet = Packet(b"", 1)
        packet.noted = (("delay", index), ("rate", 5))
        holds.note(Verdict(packet, "sent", 0))
    assert holds.by_policy() == {"delay": plain(list(range(number))), "rate": Quantiles(number, 5, 5, 5)}
