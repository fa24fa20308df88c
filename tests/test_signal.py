"""Signals: what policies learn apart from their packets, live and again in a replay."""

import io
import json
from pathlib import Path

import pytest
from hypothesis import given

from shaper import Answer, Drop, Flow, Hold, Packet, Policy, Send, Signal, Wake, ms
from shaper.capture import CaptureWriter
from shaper.cli import main
from shaper.core.core import Core
from shaper.core.virtual import play
from shaper.journal import Clocks, Journal, read_changes, read_journal
from shaper.policy.signal import SignalRecord
from shaper.spec.load import load
from shaper.timeline.packet_spec import Ends, PacketSpec, bytes_of
from shaper.wire.header import ACK, PSH, flow_key
from tests.cores import ENDS, run, udp
from tests.schema import schema
from tests.traffic import raws

DATA = bytes_of(PacketSpec("tcp", 1000, ACK | PSH, 1, 1), ENDS, 1)
ACKED = bytes_of(PacketSpec("tcp", 0, ACK, 1, 1001), ENDS.reverse, 2)
TO_RECEIVER = Packet(DATA).flow


class Keeps(Policy):
    """Holds its packets until a signal comes."""

    def start(self) -> None:
        self.kept: list[Packet] = []

    def on_packet(self, packet: Packet, now: int) -> Answer:
        self.kept.append(packet)
        return Hold(packet)

    def on_signal(self, signal: Signal, now: int) -> Answer:
        kept, self.kept = self.kept, []
        return [Send(packet, at=now + 1 * ms) for packet in kept]


def drained(raw: bytes) -> Signal:
    return Signal("drained", Packet(raw).flow)


def test_a_signal_reaches_the_object_that_has_the_flow() -> None:
    other = Ends(ENDS.source, 41000, ENDS.destination, ENDS.dport)
    core = Core([Keeps()])
    core.receive(udp(1), 0)
    core.receive(udp(2, ends=other), 0)
    core.signal("test_signal", drained(udp(1).raw), 5 * ms)
    assert run(core, until=9 * ms) == [(1, "sent", 6 * ms)]


def test_a_bad_answer_to_a_signal_is_a_failure_of_that_hook() -> None:
    class Answers(Keeps):
        def on_signal(self, signal: Signal, now: int) -> Answer:
            return Drop(Packet(DATA))

    core = Core([Answers()])
    core.receive(udp(1), 0)
    core.signal("test_signal", drained(udp(1).raw), 5 * ms)
    assert [(verdict.fate, verdict.planned) for verdict in core.due(5 * ms)] == [("sent", 5 * ms)]
    assert core.failures[0].where == f"{__file__}:{Answers.on_signal.__code__.co_firstlineno}"


def test_a_signal_of_an_unseen_flow_or_after_the_end_reaches_no_policy() -> None:
    core = Core([Keeps()])
    core.signal("test_signal", drained(udp(1).raw), 0)
    core.receive(udp(1), 0)
    assert len(core.close()) == 1
    core.signal("test_signal", drained(udp(1).raw), 1)
    assert core.failures == []


def test_a_stage_that_there_is_not() -> None:
    with pytest.raises(ValueError, match="no stage 'delay'"):
        Core([Keeps()]).signal("delay", drained(udp(1).raw), 0)


def test_a_policy_that_fails_on_a_signal_releases_its_packets() -> None:
    class Fails(Keeps):
        def on_signal(self, signal: Signal, now: int) -> Answer:
            raise RuntimeError("signalled")

    core = Core([Fails()])
    core.receive(udp(1), 0)
    core.signal("test_signal", drained(udp(1).raw), 3)
    assert [verdict.planned for verdict in core.due(3)] == [3]
    assert "RuntimeError: signalled" in str(core.failures[0])


def test_what_is_planned_before_a_signal_happens_before_it() -> None:
    class Notes(Keeps):
        def on_packet(self, packet: Packet, now: int) -> Answer:
            return [Hold(packet), Wake(now + 2)]

        def on_wake(self, now: int) -> Answer:
            seen.append(("wake", now))
            return None

        def on_signal(self, signal: Signal, now: int) -> Answer:
            seen.append((signal.direction, now))
            return None

    seen: list[tuple[str, int]] = []
    core = Core([Notes()])
    core.receive(udp(1), 0)
    core.signal("test_signal", drained(udp(1).raw), 7)
    assert seen == [("wake", 2), ("original", 7)]


@pytest.mark.parametrize(("options", "asks"), [("reader=process", True), ("wake=1ms", False)])
def test_the_engine_knows_who_asks(options: str, asks: bool) -> None:
    core = Core([load("delay:1ms"), load("prequeue:wake=1ms"), load(f"prequeue:{options}")])
    assert core.listeners("drained") == (["prequeue#2"] if asks else [])


def test_the_receivers_acks_wait_until_its_process_has_read() -> None:
    core = Core([load("prequeue:reader=process")])
    core.receive(Packet(DATA, 1), 0)
    core.receive(Packet(ACKED, 2), 1 * ms)
    core.signal("prequeue", Signal("drained", TO_RECEIVER), 40 * ms)
    # Nothing is unread now, so the next one has nothing to wait for.
    core.receive(Packet(ACKED, 3), 41 * ms)
    assert run(core) == [(1, "sent", 0), (2, "sent", 40 * ms), (3, "sent", 41 * ms)]


def test_they_wait_no_longer_than_the_timer() -> None:
    core = Core([load("prequeue:reader=process")])
    core.receive(Packet(DATA, 1), 0)
    core.receive(Packet(ACKED, 2), 1 * ms)
    assert run(core) == [(1, "sent", 0), (2, "sent", 150 * ms)]


GIVEN = SignalRecord("prequeue", Signal("drained", TO_RECEIVER), 40 * ms, 2)


def test_the_journal_keeps_signals_apart_from_packets(tmp_path: Path) -> None:
    text = io.StringIO()
    journal = Journal(text, policies=["prequeue:reader=process"], seed=0, clocks=Clocks(5, 1_000_000_005))
    journal.signalled(GIVEN)
    file = tmp_path / "journal"
    file.write_text(text.getvalue())
    assert read_journal(file)[1] == []
    # On the clock of the capture.
    assert read_changes(file) == [GIVEN._replace(at=1_040_000_000)]
    schema("journal").validate(json.loads(text.getvalue().splitlines()[1]))


def test_a_replay_tells_them_again_after_as_many_packets(tmp_path: Path) -> None:
    core = Core([load("prequeue:reader=process")])
    packets = [Packet(DATA, 1, 0), Packet(ACKED, 2, 1 * ms), Packet(ACKED, 3, 39 * ms)]
    verdicts = play(core, packets, [GIVEN])
    # The third came before the signal, but was taken after it.
    assert [(v.packet.id, v.planned) for v in verdicts] == [(1, 0), (2, 40 * ms), (3, 40 * ms)]


def test_signals_are_for_policies_that_are_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capture, file = tmp_path / "in.pcapng", tmp_path / "journal"
    with CaptureWriter(capture) as writer:
        writer.arrived(Packet(DATA, 1, 0))
    with file.open("w") as text:
        Journal(text, policies=[], seed=0).signalled(GIVEN)
    assert main(["replay", str(capture), "--policy", "delay", "--changes", str(file)]) == 2
    assert "there is a signal for prequeue, but the policies are delay" in capsys.readouterr().err


@given(raws)
def test_a_flow_can_be_read_again(raw: bytes) -> None:
    flow = Packet(raw).flow
    if flow.protocol != "other" and flow.sport:
        assert Flow.parse(str(flow)) == flow
        assert flow.key == flow_key(raw)


def test_what_is_no_flow() -> None:
    with pytest.raises(ValueError, match="is no flow"):
        Flow.parse("nonsense")
