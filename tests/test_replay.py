"""Replay: a capture through policies, exact to the ns, the same every time."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shaper.capture import CaptureWriter, read_capture
from shaper.cli import main
from shaper.core.core import Core
from shaper.core.virtual import play
from shaper.journal import read_journal
from shaper.policy.action import Send, Wake
from shaper.policy.base import Policy
from shaper.spec.load import load
from shaper.units import ms, s
from shaper.wire.packet import Packet
from tests.captures import EPOCH, UDP, pcap, udp_from
from tests.schema import schema

DROP_THIRD = """
from shaper import Drop, Policy

class DropThird(Policy):
    def start(self):
        self._seen = 0

    def on_packet(self, packet, now):
        self._seen += 1
        if self._seen % 3 == 0:
            return Drop(packet)
"""


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    """Thirty UDP datagrams, 1 ms apart."""
    file = tmp_path / "in.pcap"
    file.write_bytes(pcap([(EPOCH + index * ms, UDP) for index in range(30)]))
    return file


@pytest.fixture
def drop_third(tmp_path: Path) -> Path:
    file = tmp_path / "drop_third.py"
    file.write_text(DROP_THIRD)
    return file


def test_drop_third_drops_ten_of_thirty(
    capture: Path, drop_third: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.pcapng"
    assert main(["replay", str(capture), "--policy", str(drop_third), "-o", str(out)]) == 0
    assert "30 packets taken: 20 sent, 10 dropped" in capsys.readouterr().out
    sent = [packet.arrived - EPOCH for packet in read_capture(out)]
    assert sent == [index * ms for index in range(30) if index % 3 != 2]


def test_packets_depart_when_the_policies_say_to_the_ns(capture: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.pcapng"
    policies = ["--policy", "delay:time=20000007ns", "--policy", "spread_burst:gap=1500us"]
    assert main(["replay", str(capture), *policies, "-o", str(out)]) == 0
    departures = [packet.arrived - EPOCH for packet in read_capture(out)]
    assert departures == [20_000_007 + index * 1_500_000 for index in range(30)]


def test_the_journal_has_every_packet_with_its_holds(capture: Path, tmp_path: Path) -> None:
    file = tmp_path / "journal"
    assert main(["replay", str(capture), "--policy", "delay:20ms", "--seed", "x", "--journal", str(file)]) == 0
    header, records = read_journal(file)
    assert (header.policies, header.seed, header.clocks) == (("delay:20ms",), "x", (0, 0))
    assert [record.id for record in records] == list(range(1, 31))
    for index, record in enumerate(records):
        assert record.arrived == EPOCH + index * ms
        assert record.planned == record.begin == record.end == record.arrived + 20 * ms
        assert record.held == (("delay", 20 * ms),)


def test_the_document_is_the_last_thing_on_standard_output(capture: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", str(capture), "--policy", "delay:20ms", "--timeline", "--json"]) == 0
    out, err = capsys.readouterr()
    document = json.loads(out)
    schema("replay").validate(document)
    assert (document["taken"], document["sent"], document["dropped"]) == (30, 30, 0)
    assert document["held"] == [{"policy": "delay", "packets": 30, "p50_ms": 20.0, "p99_ms": 20.0, "max_ms": 20.0}]
    assert "# delay 20ms" in err
    assert "30 packets taken" in err


def test_the_document_goes_to_a_file_if_one_is_given(
    capture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "summary.json"
    assert main(["replay", str(capture), "--policy", "pass_through", f"--json={file}"]) == 0
    assert json.loads(file.read_text())["taken"] == 30
    assert capsys.readouterr().out.startswith("30 packets taken")


def test_the_timeline_is_one_that_can_be_a_test(capture: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from shaper.timeline import check, parse

    assert main(["replay", str(capture), "--policy", "delay:20ms", "--policy", "spread_burst", "--timeline"]) == 0
    story = capsys.readouterr().out.split("\n\n")[0]
    (told,) = parse(story)
    assert len([event for event in told.events if event.kind == ">"]) > 0
    assert check(told) is None


def test_a_filter_leaves_the_other_packets_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "in.pcap"
    file.write_bytes(pcap([(EPOCH + port, udp_from(port)) for port in (1, 2, 3, 2)]))
    out = tmp_path / "out.pcapng"
    arguments = ["--policy", "delay:1ms", "--filter", "udp src port 2", "-o", str(out)]
    assert main(["replay", str(file), *arguments]) == 0
    assert [packet.arrived - EPOCH for packet in read_capture(out)] == [2 + ms] * 2


def test_a_cut_capture_is_used_as_far_as_it_goes(
    capture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = capture.read_bytes()
    capture.write_bytes(whole[:-1])
    out = tmp_path / "out.pcapng"
    for arguments in ([], ["--filter", "udp"]):
        assert main(["replay", str(capture), "--policy", "delay:1ms", "-o", str(out), *arguments]) == 1
        assert len(list(read_capture(out))) == 29
        text = capsys.readouterr()
        assert "29 packets taken: 29 sent" in text.out
        assert text.err.startswith(f"shaper: {capture} is cut off")
        assert text.err.count("\n") == 1


def test_a_raising_policy_lets_packets_go_and_is_named_with_file_and_line(
    capture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    policy = tmp_path / "faulty.py"
    policy.write_text(
        "from shaper import Policy\n\nclass Faulty(Policy):\n    def on_packet(self, packet, now):\n        1 / 0\n"
    )
    assert main(["replay", str(capture), "--policy", str(policy)]) == 1
    text = capsys.readouterr()
    assert "30 packets taken: 30 sent" in text.out
    assert text.err == f"shaper: policy faulty failed at {policy}:5: ZeroDivisionError: division by zero\n"
    assert main(["--debug", "replay", str(capture), "--policy", str(policy)]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_a_hold_cut_short_gives_status_1(capture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    policy = tmp_path / "endless.py"
    policy.write_text(
        "from shaper import Policy, Hold\n\nclass Endless(Policy):\n"
        "    def on_packet(self, packet, now):\n        return Hold(packet)\n"
    )
    assert main(["replay", str(capture), "--policy", str(policy), "--max-hold", "50ms"]) == 1
    text = capsys.readouterr()
    assert "30 sent, 0 dropped; 0 injected, 30 cut short" in text.out
    assert text.err == "shaper: 30 packets were sent early, since a policy planned beyond --max-hold\n"


def test_the_capture_is_never_overwritten(capture: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = capture.read_bytes()
    for option in ("--output", "--journal", "--json"):
        assert main(["replay", str(capture), "--policy", "delay", f"{option}={capture}"]) == 2
        assert capture.read_bytes() == before
        assert "is the capture itself" in capsys.readouterr().err


arrivals = st.lists(st.tuples(st.integers(0, 50 * ms), st.integers(1, 3)), max_size=40)


CHANCY = [
    load(spec)
    for spec in ("delay:time=5ms,jitter=4ms,order=free", "reorder:probability=30%,distance=2", "spread_burst:gap=1ms")
]


@settings(deadline=None)
@given(arrivals, st.text(max_size=3))
def test_replay_twice_is_equal(arrivals: list[tuple[int, int]], seed: str) -> None:
    def once() -> list[tuple[int, str, int]]:
        core = Core(CHANCY, seed=seed)
        packets = [Packet(udp_from(port), number, at) for number, (at, port) in enumerate(sorted(arrivals), 1)]
        return [(verdict.packet.id, verdict.fate, verdict.planned) for verdict in play(core, packets)]

    verdicts = once()
    assert verdicts == once()
    assert sorted(id for id, _, _ in verdicts) == list(range(1, len(arrivals) + 1))
    times = [planned for _, _, planned in verdicts]
    assert times == sorted(times)


def test_no_more_packets_are_in_memory_than_are_held() -> None:
    core = Core([load("delay:10ms")])
    most = 0

    def packets() -> "list[Packet]":
        return [Packet(UDP, number, EPOCH + number * ms) for number in range(1, 1001)]

    for _ in play(core, packets()):
        most = max(most, core.counts.held)
    assert most <= 11


class Restless(Policy):
    """Asks to be woken every 10 ms, for ever."""

    def on_packet(self, packet: Packet, now: int) -> tuple[Send, Wake]:
        return Send(packet), Wake(now + 10 * ms)

    def on_wake(self, now: int) -> Wake:
        return Wake(now + 10 * ms)


def test_a_policy_that_never_rests_does_not_keep_a_replay_from_ending() -> None:
    core = Core([Restless()], max_hold=s)
    assert len(list(play(core, [Packet(UDP, 1, EPOCH)]))) == 1


@pytest.mark.parametrize("arguments", [[], ["--filter", "udp"]])
def test_own_captures_are_replayed_with_the_packets_as_they_came(tmp_path: Path, arguments: list[str]) -> None:
    own, out = tmp_path / "own.pcapng", tmp_path / "summary.json"
    with CaptureWriter(own) as writer:
        core = Core([load("delay:5ms")])
        for number in range(1, 4):
            packet = Packet(UDP, number, number * ms)
            writer.arrived(packet)
            core.receive(packet, packet.arrived)
        for verdict in core.close():
            writer.verdict(verdict, 9 * ms)
    assert main(["replay", str(own), "--policy", "pass_through", f"--json={out}", *arguments]) == 0
    assert json.loads(out.read_text())["taken"] == 3
