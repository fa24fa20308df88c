"""Packets seen before and behind netem, as records of a journal."""

from itertools import chain

from shaper.experiment.mirror import Sight, records_of
from shaper.journal import Held
from shaper.units import ms


def test_holds_and_losses() -> None:
    wire = [
        b"E\0\0\x1c" + bytes([0, number]) + bytes([0, 0, 64, 17, 0, 0, 127, 0, 0, 1, 127, 0, 0, 1]) + bytes(8)
        for number in range(3)
    ]
    seen = [
        *(Sight(raw, at * ms, behind=False) for at, raw in enumerate(wire)),
        Sight(wire[2], 50 * ms, behind=True),
        Sight(wire[0], 100 * ms, behind=True),
        Sight(wire[0], 101 * ms, behind=True),  # a copy
    ]
    dropped, last, first = records_of(seen)
    assert (dropped.id, dropped.fate, dropped.by, dropped.held) == (2, "dropped", "netem", ())
    assert (last.id, last.begin, last.held) == (3, 50 * ms, (Held("netem", 48 * ms),))
    assert (first.id, first.arrived, first.begin, first.kind) == (1, 0, 100 * ms, "udp")


def test_packets_of_the_same_bytes_stay_in_order() -> None:
    raw = b"E\0\0\x1c" + bytes(4) + bytes([64, 17, 0, 0, 127, 0, 0, 1, 127, 0, 0, 1]) + bytes(8)
    seen = chain.from_iterable((Sight(raw, at, behind=False), Sight(raw, at + 100, behind=True)) for at in (0, 10))
    assert [(record.arrived, record.begin) for record in records_of(list(seen))] == [(0, 100), (10, 110)]
