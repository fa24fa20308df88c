"""Junk through parser and core: nothing raises, and all of it goes on byte for byte."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from random import Random

import pytest

from shaper.core.connections import Connections
from shaper.core.core import Core
from shaper.spec.load import load
from shaper.timeline.packet_spec import spec_of
from shaper.units import us
from shaper.wire.header import read_ip
from shaper.wire.packet import Packet
from shaper.wire.segment import CLASSES
from tests.junk import KINDS, junk

PIPELINE = ("delay:1ms", "spread_burst:gap=1us", "hold_acks", "reorder:25%")
WHOLE = 1_000_000


def test_through_parser_and_core(
    count: Callable[[int], int], progress: Callable[[int, int], None], figure: Callable[[str, str], None]
) -> None:
    total = count(WHOLE)
    random = Random("junk through parser and core")
    core = Core([load(spec) for spec in PIPELINE], seed=1)
    classes: Counter[str] = Counter()
    inside: dict[int, bytes] = {}
    for number in range(1, total + 1):
        raw = junk(random)
        core.receive(Packet(raw, number, number * us), number * us)
        inside[number] = raw
        for verdict in core.due(number * us):
            packet = verdict.packet
            assert verdict.fate == "sent"
            assert inside.pop(packet.root.id) == packet.raw
            classes[packet.kind] += 1
        if number % 1000 == 0:
            progress(number, total)
    for verdict in core.close():
        packet = verdict.packet
        assert inside.pop(packet.root.id) == packet.raw
        classes[packet.kind] += 1
    assert core.failures == []
    assert not inside
    assert (core.counts.taken, core.counts.sent, core.counts.dropped, core.counts.injected) == (total, total, 0, 0)
    assert set(classes) <= set(CLASSES)
    figure(
        "junk packets through parser and core",
        f"{total:,}: no exception, all sent byte for byte; {classes['other']:,} of class `other`",
    )


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_whatever_can_be_asked_of_it_is_answered(kind: Callable[[Random, int], bytes]) -> None:
    random = Random(kind.__name__)
    connections = Connections()
    for number in range(2000):
        raw = kind(random, random.choice((4, 6)))
        packet = Packet(raw, number)
        connections.classify(packet, number)
        assert packet.kind in CLASSES
        assert str(packet.flow)
        assert packet.length >= 0
        if packet.tcp is not None:
            assert packet.tcp.payload >= 0
        assert spec_of(raw).payload >= -48  # less than a header, where one is cut off
        if not packet.truncated:
            assert len(packet.with_raw(raw).raw) == len(raw)
            assert packet.with_raw(raw, fix=False).raw == raw


def test_what_is_not_ip_is_other() -> None:
    for raw in (b"", b"\x00", b"\x45", b"\x60" * 39, b"\xff" * 100, bytes(65535)):
        packet = Packet(raw, 1)
        Connections().classify(packet, 0)
        assert (packet.kind, read_ip(raw).version) == ("other", 0)
