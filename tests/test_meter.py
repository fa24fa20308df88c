"""The meter: what is counted while somebody looks."""

import pytest

from shaper import Packet, ms, us
from shaper.core.core import Core
from shaper.live import meter as metering
from shaper.live.meter import BOUNDS, Meter
from shaper.spec.load import load
from tests.cores import ENDS, udp


def through(meter: Meter, core: Core, packets: list[Packet], late: int = 0) -> None:
    """These packets arrive, and the engine carries all verdicts out, each this late (ns)."""
    for packet in packets:
        core.receive(packet, packet.arrived)
    meter.arrived(packets)
    send(meter, core, packets[-1].arrived, late)


def send(meter: Meter, core: Core, until: int, late: int = 0) -> None:
    while (deadline := core.next_deadline()) is not None and deadline <= until:
        meter.left(core.due(deadline), deadline + late)
    if verdicts := core.due(until):
        meter.left(verdicts, until + late)


def flows_of(count: int, begin: int = 0) -> list[Packet]:
    """A packet of each of this many flows."""
    return [udp(number + 1, 0, ENDS._replace(sport=1000 + number)) for number in range(begin, begin + count)]


def test_a_flow_is_counted() -> None:
    meter, core = Meter(), Core([load("delay:20ms"), load("loss:packets=2")])
    through(meter, core, [udp(1), udp(2, ms), udp(3, 2 * ms)])
    (flow,) = meter.flows(10)
    assert (flow["packets"], flow["held"], flow["dropped"], flow["classes"]) == (3, 3, 0, {"udp": 3})
    send(meter, core, 30 * ms, late=3 * us)
    (flow,) = meter.flows(10)
    assert (flow["packets"], flow["held"], flow["dropped"], flow["direction"]) == (3, 0, 1, "original")
    assert flow["flow"] == "192.0.2.1:40000 > 192.0.2.9:80 udp"
    assert flow["hold_ms"] == pytest.approx(20.003)
    assert meter.packets == {("sent", "", "original", "udp"): 2, ("dropped", "loss", "original", "udp"): 1}
    assert (sum(meter.holds), sum(meter.latenesses), meter.lateness) == (2, 2, 6 * us)
    assert meter.holds[BOUNDS.index(50 * ms)] == meter.latenesses[BOUNDS.index(10 * us)] == 2


def test_flows_that_hold_nothing_are_forgotten_when_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metering, "MAX_FLOWS", 10)
    meter, core = Meter(), Core([load("pass_through")])
    through(meter, core, flows_of(10))
    through(meter, core, flows_of(3, 10))
    assert len(meter.flows(100)) == 3
    assert meter.packets.total() == 13


def test_while_all_flows_hold_packets_others_are_not_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metering, "MAX_FLOWS", 10)
    meter, core = Meter(), Core([load("delay:1s")])
    through(meter, core, flows_of(25))
    assert [flow["held"] for flow in meter.flows(100)] == [1] * 10
    send(meter, core, 2 * 10**9)
    assert {flow["held"] for flow in meter.flows(100)} == {0}
    assert meter.packets.total() == 25


def test_samples_are_bounded() -> None:
    meter, core = Meter(), Core([load("pass_through")])
    assert meter.samples(2) == []
    through(meter, core, flows_of(5))
    assert [sample["id"] for sample in meter.samples(0)] == [1, 2]
    through(meter, core, flows_of(5, 5))
    assert meter.samples(0) == []
