"""The netcat experiment as LTTng recorded it: its figures, its wakers, its packets."""

import csv
import json
import shutil
from pathlib import Path

import pytest

from shaper.cli import main
from shaper.report.blocking import PARTS, Blocking, Waker
from shaper.trace.read.events import TraceError
from shaper.trace.read.lttng import read_lttng
from shaper.trace.report import TraceReport, report
from tests.schema import schema
from tests.trace.lttng import journal_of, unpack

# For each trace: role, system call, milliseconds; as in the figures made together with the recording.
FIGURES = {
    "none": [("server", "accept4", 501.977), ("server", "poll", 0.737), ("server", "poll", 0.027)],
    "netem": [("client", "pselect6", 200.047), ("client", "poll", 200.081), ("server", "accept4", 802.658)],
    "nfqueue": [
        ("client", "pselect6", 199.737), ("client", "poll", 400.400),
        ("server", "accept4", 805.658), ("server", "poll", 100.063), ("server", "poll", 99.884),
    ],
}  # fmt: skip


def netcat(name: str, where: Path, *, journal: bool = False) -> TraceReport:
    directory = unpack(name, where)
    records = journal_of(directory / "packets.jsonl", where / "journal.jsonl") if journal else []
    return report(read_lttng(directory), records, names=["nc"])


def calls(result: TraceReport) -> list[tuple[str, str, float]]:
    return sorted((row.role, row.syscall, round(row.duration / 1e6, 3)) for row in result.blockings)


def parts(row: Blocking) -> int:
    held = sum(part.duration for part in row.held)
    rest: int = sum(getattr(row, part) for part in PARTS)
    return held + rest


@pytest.mark.parametrize("name", FIGURES)
def test_durations_are_those_of_the_recording(name: str, tmp_path: Path) -> None:
    result = netcat(name, tmp_path)
    assert calls(result) == sorted(FIGURES[name])
    assert result.lost == 0
    assert not result.cut


@pytest.mark.parametrize(
    ("name", "waker"),
    [
        ("none", Waker("softirq", "NET_RX")),
        ("netem", Waker("softirq", "NET_RX")),
        ("nfqueue", Waker("task", "python[273]")),
    ],
)
def test_the_context_is_the_waker(name: str, waker: Waker, tmp_path: Path) -> None:
    assert {row.waker for row in netcat(name, tmp_path).blockings} == {waker}


def test_on_loopback_the_peer_caused_the_softirq(tmp_path: Path) -> None:
    result = netcat("none", tmp_path)
    for row in result.blockings:
        assert row.peer + row.cpu_wait == row.duration
    (path,) = [spent for task, spent in result.paths.items() if task.role == "server"]
    # The client began half a second later, since the shell slept that long.
    assert path["waiting for timer of sleep[265]"] == pytest.approx(500e6, rel=0.01)


def test_without_a_journal_the_network_stays_unexplained(tmp_path: Path) -> None:
    for row in netcat("netem", tmp_path).blockings:
        assert row.waited_for == "network"
        assert row.unexplained + row.cpu_wait == row.duration


def test_each_wakeup_is_tied_to_its_packet(tmp_path: Path) -> None:
    result = netcat("nfqueue", tmp_path, journal=True)
    chains = {
        (row.role, row.syscall, str(row.waker)): [(part.kind, round(part.duration / 1e6)) for part in row.held]
        for row in result.blockings
    }
    assert chains == {
        ("server", "accept4", "packet ACK #3"): [("handshake-ack", 100), ("synack", 100), ("syn", 100)],
        ("server", "poll", "packet data #4"): [("data", 100)],
        ("server", "poll", "packet FIN #5"): [("fin", 100)],
        ("client", "pselect6", "packet SYN-ACK #2"): [("synack", 100), ("syn", 99)],
        # The server closed when the client's FIN arrived, which was held for 300 ms.
        ("client", "poll", "packet FIN #7"): [("fin", 100), ("fin", 300)],
    }


def test_parts_add_up(tmp_path: Path) -> None:
    result = netcat("nfqueue", tmp_path, journal=True)
    for row in result.blockings:
        assert parts(row) == row.duration
        assert row.unexplained < 1e6
    (accept,) = [row for row in result.blockings if row.syscall == "accept4"]
    assert accept.before_client == pytest.approx(505e6, rel=0.01)


def test_file_descriptors_have_their_files(tmp_path: Path) -> None:
    result = netcat("nfqueue", tmp_path)
    files = {(row.role, row.fd, row.file) for row in result.blockings}
    assert ("client", 3, "socket > 127.0.0.1:8765") in files
    assert ("server", 4, "socket < 127.0.0.1:34446") in files


def test_all_tasks_without_a_choice(tmp_path: Path) -> None:
    result = report(read_lttng(unpack("nfqueue", tmp_path)))
    assert {"nc", "bash", "python"} <= {row.task for row in result.blockings}
    assert {row.task for row in result.blockings if row.waker == Waker("hrtimer", "hrtimer")} >= {"sleep"}


def test_only_the_longest_are_listed(tmp_path: Path) -> None:
    result = report(read_lttng(unpack("nfqueue", tmp_path)), names=["nc"], listed=2)
    assert calls(result) == [("client", "poll", 400.4), ("server", "accept4", 805.658)]
    assert result.count == 5


def test_a_process_brings_its_children(tmp_path: Path) -> None:
    events = list(read_lttng(unpack("nfqueue", tmp_path)))
    (shell,) = {
        event.tid for event in events if event.name == "sched_process_fork" and event.fields["child_pid"] == 286
    }
    assert {"nc", "bash"} <= {row.task for row in report(events, pids=[shell]).blockings}
    assert {row.tid for row in report(events, pids=[290]).blockings} == {290}


def test_cpu_time_over_the_tree(tmp_path: Path) -> None:
    times = {time.process: time for time in report(read_lttng(unpack("nfqueue", tmp_path))).cpu}
    assert times[290].own == pytest.approx(3.986e6, rel=0.01)
    assert times[290].sub == 0
    parent = times[117]
    assert parent.sub >= times[290].own + times[287].own
    assert parent.total == parent.own + parent.sub


def test_a_trace_cut_in_the_middle(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory = unpack("nfqueue", tmp_path)
    stream = directory / "trace" / "kernel" / "ch0_0"
    stream.write_bytes(stream.read_bytes()[: stream.stat().st_size * 2 // 3])
    shutil.rmtree(stream.parent / "index")
    status = main(["report", str(directory)])
    said = capsys.readouterr()
    assert status == 1
    assert "cut or damaged" in " ".join((said.out + said.err).split())
    assert "Traceback" not in said.out + said.err


def test_the_command_and_its_document(tmp_path: Path) -> None:
    directory, journal, document = unpack("nfqueue", tmp_path), tmp_path / "journal", tmp_path / "document.json"
    journal_of(directory / "packets.jsonl", journal)
    table = tmp_path / "table.csv"
    options = ["--journal", str(journal), "--command", "nc", "--csv", str(table), f"--json={document}"]
    assert main(["report", str(directory), *options]) == 0
    content = json.loads(document.read_text())
    schema("report").validate(content)
    assert [row["held"][0]["class"] for row in content["blockings"]] == [
        "handshake-ack",
        "synack",
        "fin",
        "data",
        "fin",
    ]
    rows = list(csv.DictReader(table.open()))
    assert [row["syscall"] for row in rows] == ["accept4", "pselect6", "poll", "poll", "poll"]
    assert rows[0]["held"].startswith("← ACK(100.1) ← SYN-ACK(100.1) ← SYN(100.1)")


def test_without_babeltrace_one_line_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = unpack("none", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(TraceError, match="apt install babeltrace2"):
        list(read_lttng(directory))
