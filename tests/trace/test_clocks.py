"""A trace and a journal, each with a clock of its own: the packets get the trace's times, or one line says why not."""

import json
from pathlib import Path

import pytest

from shaper.cli import main
from shaper.journal import Clocks, Header, Held, Record
from shaper.trace.analysis.clocks import check_overlap, on_clock
from shaper.trace.read.events import Clock, TraceError
from shaper.trace.read.source import read_trace
from shaper.units import ms, s, us
from shaper.wire.flow import Flow
from tests.schema import schema
from tests.trace.lttng import unpack
from tests.trace.test_text import PERF, STRACE, TRACEFS

FLOW = "tcp 127.0.0.1:40000 > 127.0.0.1:80"
OF_DAY = 1_700_000_000
STARTED = 60  # s on CLOCK_MONOTONIC; on the wall clock, OF_DAY
HEADER = Header(("delay:20ms",), "0", Clocks(STARTED * s, OF_DAY * s))
PERF_HEADER = "# ========\n# captured on    : Sun Nov 29 12:06:53 2026\n"


def record(at: int) -> Record:
    """A packet that came at this time (ns) and was held for 20 ms."""
    return Record(
        id=1, flow=Flow.parse(FLOW), kind="data", flags="A", seq=1, ack=0, length=60, arrived=at, taken=at,
        fate="sent", planned=at + 20 * ms, begin=at + 20 * ms, end=at + 20 * ms, tid=9, held=(Held("delay", 20 * ms),),
    )  # fmt: skip


def write(trace: str, packet: int, where: Path, clocks: Clocks = HEADER.clocks) -> list[str]:
    """Write a trace, and a journal with a packet of this time (ns); returns the command that reports them."""
    (where / "trace").write_text(trace)
    clock = {"monotonic_ns": clocks.monotonic, "realtime_ns": clocks.realtime}
    header = {"v": 1, "policies": ["delay:20ms"], "seed": "0", "paired": True, "clock": clock}
    line = {
        "v": 1, "id": 1, "flow": FLOW, "class": "data", "flags": "A", "seq": 1, "ack": 0, "len": 60,
        "arrived_ns": packet, "taken_ns": packet, "fate": "sent", "planned_ns": packet + 20 * ms,
        "verdict_begin_ns": packet + 20 * ms, "verdict_end_ns": packet + 20 * ms, "tid": 9,
        "held": [{"policy": "delay", "ns": 20 * ms}], "by": "",
    }  # fmt: skip
    (where / "journal").write_text("".join(json.dumps(each) + "\n" for each in (header, line)))
    return ["report", str(where / "trace"), "--journal", str(where / "journal")]


@pytest.mark.parametrize(
    ("text", "clock"),
    [
        (STRACE, "wall"),
        (TRACEFS, "unknown"),
        (PERF, "unknown"),
        (PERF.replace(" 100.", f" {OF_DAY}."), "wall"),
        (PERF_HEADER + "# clockid: monotonic (1)\n" + PERF, "mono"),
        (PERF_HEADER + "# clockid: realtime (0)\n" + PERF, "wall"),
        (PERF_HEADER + "# clockid: boottime (7)\n" + PERF, "boot"),
        (PERF_HEADER + "# clockid: monotonic_raw (4)\n" + PERF, "own"),
        (PERF_HEADER + PERF, "own"),
    ],
)  # fmt: skip
def test_every_reader_names_its_clock(text: str, clock: Clock, tmp_path: Path) -> None:
    (tmp_path / "trace").write_text(text)
    assert read_trace(tmp_path / "trace").clock == clock


def test_lttngs_clock_is_in_its_metadata(tmp_path: Path) -> None:
    directory = unpack("none", tmp_path)
    assert read_trace(directory).clock == "mono"
    (metadata,) = directory.rglob("metadata")
    metadata.write_bytes(metadata.read_bytes().replace(b'name = "monotonic"', b'name = "tsc_of_cpu"'))
    assert read_trace(directory).clock == "unknown"


def test_packets_get_the_times_of_the_trace() -> None:
    journal = [record(STARTED * s + 100 * ms)]
    assert on_clock("mono", HEADER, journal) == on_clock("unknown", HEADER, journal) == journal
    (moved,) = on_clock("wall", HEADER, journal)
    assert moved == record(OF_DAY * s + 100 * ms)


@pytest.mark.parametrize("clock", ["boot", "own"])
def test_clocks_without_a_known_relation_are_refused(clock: Clock) -> None:
    with pytest.raises(TraceError, match="record the trace with CLOCK_MONOTONIC") as refused:
        on_clock(clock, HEADER, [record(STARTED * s)])
    assert "\n" not in str(refused.value)


def test_packets_of_a_replay_have_the_times_of_their_capture() -> None:
    replayed = [record(OF_DAY * s)]
    assert on_clock("wall", HEADER._replace(clocks=Clocks(0, 0)), replayed) == replayed


def test_some_packet_must_be_of_the_traces_time() -> None:
    check_overlap([], 0, 1)
    check_overlap([record(10 * ms), record(90 * ms)], 20 * ms, 30 * ms)
    with pytest.raises(TraceError, match=r"from 1\.000 to 2\.000 s, .* from 3\.000 to 3\.020 s"):
        check_overlap([record(3 * s)], 1 * s, 2 * s)


def test_a_log_of_strace_with_a_journal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # The packet came 40 ms after strace's first call.
    command, chrome = write(STRACE, (STARTED + 100) * s + 40 * ms, tmp_path), tmp_path / "chrome.json"
    document = tmp_path / "document.json"
    assert main([*command, "--chrome", str(chrome), f"--json={document}"]) == 0
    entries = json.loads(chrome.read_text())["traceEvents"]
    (packet,) = [entry for entry in entries if entry.get("cat") == "packet"]
    assert (packet["ts"], packet["dur"]) == (40 * ms / us, 20 * ms / us)
    content = json.loads(document.read_text())
    schema("report").validate(content)
    assert content["clock"] == "wall"
    assert "clock" not in capsys.readouterr().out


def test_a_journal_of_another_time_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(write(TRACEFS, 7000 * s, tmp_path)) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "give the journal of a shaper that ran meanwhile" in said


def test_perfs_own_clock_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(write(PERF_HEADER + PERF, 100 * s, tmp_path)) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "perf record -k CLOCK_MONOTONIC" in said


def test_a_clock_that_is_only_assumed_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(write(TRACEFS, 100 * s, tmp_path)) == 0
    assert "doesn't name its clock" in capsys.readouterr().out
