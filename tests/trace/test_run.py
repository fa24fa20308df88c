"""`shaper run --trace`: the netcat experiment, with the packets to blame."""

import json
import shutil
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from shaper.report.blocking import PARTS
from tests.trace.conftest import Shaper

NETCAT = """
nc -l 127.0.0.1 8765 >/dev/null &
server=$!
until grep -q :223D /proc/net/tcp; do sleep 0.01; done  # it listens
echo lttng | nc -N 127.0.0.1 8765
wait $server
"""
DELAY = 100.0
# Nothing may come early; how late it may come depends on what else this machine does.
LATE = 40.0

Row = dict[str, Any]


def netcat(shaper: Shaper, *options: str | Path) -> list[Row]:
    document = shaper("run", *options, "--trace", "--", "sh", "-c", NETCAT)
    trace = document["trace"]
    assert trace["lost"] == 0
    rows: list[Row] = [row for row in trace["blockings"] if row["task"] == "nc"]
    for row in rows:
        rest = sum(row[f"{part}_ms"] for part in PARTS)
        assert sum(part["ms"] for part in row["held"]) + rest == pytest.approx(row["duration_ms"])
    return rows


def one(rows: list[Row], role: str, syscall: str) -> Row:
    (row,) = [row for row in rows if (row["role"], row["syscall"]) == (role, syscall) and row["duration_ms"] > 50]
    return row


def chain(row: Row) -> list[str]:
    return [part["class"] for part in row["held"]]


@pytest.mark.alone
def test_delay_is_found_in_every_wait(shaper: Shaper) -> None:
    runs = [netcat(shaper, "--policy", f"delay:time={DELAY:.0f}ms") for _ in range(3)]
    accepts = [one(rows, "server", "accept4") for rows in runs]
    selects = [one(rows, "client", "pselect6") for rows in runs]
    polls = [one(rows, "client", "poll") for rows in runs]
    for accept, select, poll in zip(accepts, selects, polls, strict=True):
        assert accept["waker"]["kind"] == select["waker"]["kind"] == poll["waker"]["kind"] == "packet"
        assert accept["waker"]["name"].startswith("ACK")
        assert chain(accept) == ["handshake-ack", "synack", "syn"]
        assert chain(select) == ["synack", "syn"]
        assert chain(poll)[0] == "fin"
    opened = median(row["duration_ms"] - row["before_client_ms"] for row in accepts)
    assert 3 * DELAY <= opened < 3 * DELAY + LATE
    for rows in (selects, polls):
        # Counted from the call; its packet may have been sent a little before.
        assert 2 * DELAY - 5 < median(row["duration_ms"] for row in rows) < 2 * DELAY + LATE
    assert median(row["unexplained_ms"] for row in accepts) < LATE


@pytest.mark.alone
def test_a_spread_burst_makes_the_server_wait_for_its_data(shaper: Shaper) -> None:
    policies = ("--policy", "delay:time=100ms", "--policy", "spread_burst:gap=100ms")
    waits = [
        row
        for row in netcat(shaper, *policies)
        if row["role"] == "server" and row["syscall"] == "poll" and row["duration_ms"] > 50
    ]
    data, end = sorted(waits, key=lambda row: row["start_ns"])
    assert data["waker"]["name"].startswith("data")
    assert end["waker"]["name"].startswith("FIN")
    assert chain(data)[0] == "data"
    assert chain(end)[0] == "fin"


def test_the_recording_is_kept_with_its_journal(shaper: Shaper, tmp_path: Path) -> None:
    recording, chrome, figure = tmp_path / "recording", tmp_path / "trace.json", tmp_path / "figure.svg"
    shaper("run", "--policy", "delay:20ms", "--recording", recording, "--", "sh", "-c", NETCAT)
    document = shaper("report", recording, "--command", "nc", "--chrome", chrome, "--figure", figure)
    assert figure.read_text().startswith("<?xml")
    assert {row["task"] for row in document["blockings"]} == {"nc"}
    assert any(row["held"] for row in document["blockings"])
    entries = json.loads(chrome.read_text())["traceEvents"]
    slices = [entry for entry in entries if entry["ph"] == "X"]
    assert any(entry["cat"] == "packet" for entry in slices)
    starts, ends = ([entry for entry in entries if entry["ph"] == phase] for phase in "sf")
    assert starts
    for start, end in zip(starts, ends, strict=True):
        for arrow, category in ((start, "packet"), (end, "blocked")):
            assert any(
                entry["cat"] == category
                and (entry["pid"], entry["tid"]) == (arrow["pid"], arrow["tid"])
                and entry["ts"] <= arrow["ts"] <= entry["ts"] + entry["dur"]
                for entry in slices
            )


def test_nothing_is_left_under_tracefs(shaper: Shaper) -> None:
    from shaper.trace.record.tracefs import Tracefs

    shaper("trace", "--", "true")
    shaper("trace", "--", "false", status=1)
    tracefs = Tracefs()
    # Those of a process that runs are another test's, as are those of a PID namespace.
    instances = (tracefs.path / "instances").glob("shaper-*")
    owners = {path.name: path.name.split("-")[1] for path in instances}
    left = [name for name, pid in owners.items() if pid.isdecimal() and not Path("/proc", pid).exists()]
    tracefs.close()
    assert left == []


def test_a_recording_cut_in_the_middle(shaper: Shaper, tmp_path: Path) -> None:
    recording = tmp_path / "recording"
    shaper("trace", "--recording", recording, "--", "sh", "-c", "for i in 1 2 3 4 5; do sleep 0.01; done")
    largest = max((recording / "tasks").iterdir(), key=lambda file: file.stat().st_size)
    largest.write_bytes(largest.read_bytes()[:-100])
    document = shaper("report", recording, status=1)
    assert "cut off" in document["cut"]
    shutil.rmtree(recording)


@pytest.mark.alone
def test_packets_that_a_router_held_are_found(shaper: Shaper) -> None:
    server, client = ["nc", "-l", "8765"], ["sh", "-c", "echo lttng | nc -N $SHAPER_SERVER 8765"]
    options = ["--policy", f"delay:time={DELAY:.0f}ms", "--network", "routed", "--trace"]
    document = shaper("run", *options, "--at", "server", "--", *server, "--at", "client", "--", *client)
    rows = [row for row in document["trace"]["blockings"] if row["task"] == "nc"]
    assert chain(one(rows, "server", "accept4")) == ["handshake-ack", "synack", "syn"]
    assert chain(one(rows, "client", "pselect6")) == ["synack", "syn"]
    assert chain(one(rows, "client", "poll"))[0] == "fin"
