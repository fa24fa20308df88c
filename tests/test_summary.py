"""What the summary says about each policy: how many packets it dropped, and that it touched none."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console

from shaper import Answer, Packet, Policy, Send
from shaper.core.core import Core
from shaper.core.counts import StageUse, dropped_by, touched_nothing
from shaper.core.failure import Failure, Failures
from shaper.live.summary import Summary
from shaper.report.quantiles import Quantiles
from shaper.spec.load import load
from shaper.timeline.packet_spec import PacketSpec, bytes_of
from shaper.units import ms
from shaper.wire.header import ACK
from tests.cores import ENDS, run, udp

NOTHING = "it held, dropped, changed and made no packet"


def data(number: int) -> Packet:
    return Packet(bytes_of(PacketSpec("tcp", 100, ACK, number), ENDS, number), number)


def through(*specs: str) -> Core:
    core = Core([load(spec) for spec in specs])
    run(core, *map(data, range(1, 6)), until=1)
    return core


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ("delay:1ms", None),
        ("reorder:100%", None),
        ("loss:100%", None),
        ("window:size=1", None),
        ("duplicate:100%", None),
        ("loss:packets=5", None),
        ("delay:1ms,limit=1", None),
        ("delay:0", NOTHING),
        ("loss:0%", NOTHING),
        ("loss:0%,only=data", NOTHING),
        ("window:size=65535", NOTHING),
        ("loss:100%,only=syn", "no packet matched only=syn"),
        ("loss:100%,only=data,direction=reply", "no packet matched only=data, direction=reply"),
        ("reset:only=syn+fin,connections=50%", "no packet matched only=syn+fin, connections=50%"),
        ("loss:100%,connections=0%", "no packet matched connections=0%"),
    ],
)
def test_a_policy_that_touched_nothing_is_named(spec: str, why: str | None) -> None:
    core = through(spec)
    name = spec.partition(":")[0]
    assert touched_nothing(core.stages, core.counts.taken, core.failures) == ({} if why is None else {name: why})


def test_of_two_stages_of_one_policy_each_counts_for_itself() -> None:
    core = through("loss:packets=1+3", "loss:0%", "drop_first")
    assert dropped_by(core.stages) == {"loss": 2, "drop_first": 1}
    assert list(touched_nothing(core.stages, 5, ())) == ["loss#2"]


def test_packets_beyond_a_limit_are_dropped_by_the_policy_that_has_it() -> None:
    core = through("delay:1ms,limit=2", "loss:100%")
    assert dropped_by(core.stages) == {"delay": 3}
    assert core.counts.overflowed == core.counts.dropped == 3


def test_a_packet_that_a_policy_made_is_not_among_the_dropped() -> None:
    core = through("duplicate:100%", "loss:packets=2")
    assert core.counts.dropped == 0
    assert dropped_by(core.stages) == {}
    assert touched_nothing(core.stages, 5, ()) == {}


def test_without_packets_nothing_is_touched() -> None:
    core = Core([load("delay"), load("loss:only=syn"), load("pass_through")])
    assert touched_nothing(core.stages, 0, ()) == {"delay": "no packet came", "loss": "no packet came"}


def test_a_policy_that_failed_is_named_for_that_alone() -> None:
    class Fails(Policy):
        def on_packet(self, packet: Packet, now: int) -> Answer:
            raise ValueError("no")

    core = Core([Fails()])
    run(core, udp(1))
    assert touched_nothing(core.stages, 1, core.failures) == {}


def test_a_packet_with_the_same_bytes_anew_counts_as_changed() -> None:
    class Anew(Policy):
        def on_packet(self, packet: Packet, now: int) -> Answer:
            return Send(packet.with_raw(packet.raw))

    core = Core([Anew()])
    run(core, udp(1))
    assert core.stages == {"test_summary": StageUse(0, True, False, "")}


def summary(failures: Failures | None = None, **stages: StageUse) -> Summary:
    times = Quantiles.of([1 * ms, 2 * ms, 9 * ms])
    return Summary(
        taken=1200,
        sent=1190,
        dropped=10,
        overflowed=0,
        injected=0,
        not_injected=0,
        bypassed=0,
        cut_short=0,
        lost_queue_full=0,
        lost_buffer_full=0,
        lost_to_reload=0,
        rules_lost=0,
        wanted=times,
        actual=times,
        late=times,
        failures=failures or Failures(),
        duration=1,
        counters={},
        stages=stages,
    )


def printed(summary: Summary) -> list[str]:
    file = StringIO()
    Console(file=file, width=100).print(summary.report())
    return [" ".join(line.split()) for line in file.getvalue().splitlines()]


LOSS = StageUse(9, True, True, "only=data")
DELAY = StageUse(1, True, False, "")
IDLE = StageUse(0, False, False, "only=syn, direction=reply")


def test_the_report_names_its_figures_and_who_dropped_how_many() -> None:
    lines = printed(summary(loss=LOSS, delay=DELAY))
    assert "dropped 10 9 by loss, 1 by delay" in lines
    assert "wanted hold 2.000 ms median; p99 9.000, max 9.000 ms" in lines
    assert not [line for line in lines if "touched nothing" in line]


def test_the_report_and_the_document_name_a_policy_that_touched_nothing() -> None:
    found = summary(loss=LOSS, loss2=IDLE)
    assert printed(found)[-1] == "loss2 touched nothing: no packet matched only=syn, direction=reply"
    document = found.to_json()
    assert document["dropped_by"] == {"loss": 9}
    assert document["touched_nothing"] == {"loss2": "no packet matched only=syn, direction=reply"}
    assert found.status == 0
    failures = Failures()
    failures.append(Failure("loss2", "loss.py:1", "wrong", ""))
    assert summary(failures, loss2=IDLE).touched_nothing == {}
