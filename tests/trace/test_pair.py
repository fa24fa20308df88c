"""A trace and the journal of a shaper that ran at the same time; and shaper's marks in a trace."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from shaper.core.verdict import Verdict
from shaper.live.marks import Marks
from shaper.trace.read.text import read_lines
from shaper.trace.record.tracefs import Tracefs
from shaper.wire.packet import Packet
from tests.schema import schema
from tests.trace.conftest import MAIN, Shaper
from tests.trace.test_run import NETCAT, chain, one

SYN = bytes.fromhex("4500002800010000400600007f0000017f000001") + bytes.fromhex(
    "9c40223d00000001000000005002ffff00000000"
)

# In a network of its own: first the shaper, and when it is ready, the traced program.
BOTH = f"""
ip link set lo up
{sys.executable} -c '{MAIN}' start --policy delay:100ms --port 8765 --pair --journal "$1/journal" >"$1/said" 2>&1 &
shaper=$!
until grep -q installed "$1/said"; do kill -0 $shaper || exit 3; sleep 0.1; done
{sys.executable} -c '{MAIN}' trace --recording "$1/recording" -- sh -c '{NETCAT}'
status=$?
kill -INT $shaper
wait $shaper || {{ cat "$1/said" >&2; exit 4; }}
exit $status
"""


def test_a_trace_made_beside_a_shaper_is_attributed(shaper: Shaper, tmp_path: Path) -> None:
    done = subprocess.run(
        ["unshare", "-n", "sh", "-c", BOTH, "-", tmp_path], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    document = shaper("report", tmp_path / "recording", "--journal", tmp_path / "journal", "--command", "nc")
    accept = one(document["blockings"], "server", "accept4")
    assert document["lost"] == 0
    assert accept["waker"]["kind"] == "packet", accept
    assert chain(accept) == ["handshake-ack", "synack", "syn"]
    assert all(part["policy"] == "delay" for part in accept["held"])


# A service that answers ten times, and its client, both unaware of what runs beside them.
SERVE = """
import socket
server = socket.create_server(("127.0.0.1", 8765))
connection = server.accept()[0]
while data := connection.recv(10):
    connection.sendall(data)
"""
ASK = """
import socket, time
client = socket.create_connection(("127.0.0.1", 8765))
for _ in range(10):
    client.sendall(b"x")
    client.recv(10)
    time.sleep(0.2)
"""
RUNNING = f"""
ip link set lo up
{sys.executable} -c '{MAIN}' start --policy delay:50ms --port 8765 --queue 7 --name "$2" --pair --journal "$1/journal" \
    >"$1/said" 2>&1 &
shaper=$!
until grep -q installed "$1/said"; do kill -0 $shaper || exit 3; sleep 0.1; done
{sys.executable} -c '{SERVE}' &
server=$!
sleep 0.5
{sys.executable} -c '{ASK}' &
{sys.executable} -c '{MAIN}' trace --pid $server --duration 2s --with "$2" --json="$1/result"
status=$?
{sys.executable} -c '{MAIN}' trace --pid $server --with 8 2>"$1/refused"
wait $server
kill -INT $shaper
wait $shaper || {{ cat "$1/said" >&2; exit 4; }}
exit $status
"""


@pytest.mark.alone
def test_a_running_process_beside_a_running_shaper(tracer: None, tmp_path: Path) -> None:
    line = ["unshare", "-n", "sh", "-c", RUNNING, "-", str(tmp_path), f"beside-{os.getpid()}"]
    done = subprocess.run(line, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    document = json.loads((tmp_path / "result").read_text())
    schema("report").validate(document)
    waits = [row for row in document["blockings"] if row["syscall"] == "recvfrom"]
    assert len(waits) >= 3
    for wait in waits[:3]:
        # Of the request; what the client did before isn't known, since only the server is traced.
        ((policy, held),) = ((part["policy"], part["ms"]) for part in wait["held"])
        assert policy == "delay"
        assert 50 <= held < wait["duration_ms"]
    refused = "shaper: Invalid value for '--with': no shaper is bound to queue 8 in this network namespace"
    assert (tmp_path / "refused").read_text().startswith(refused)


def test_pairing_needs_a_journal(tracer: None) -> None:
    line = [sys.executable, "-c", MAIN, "start", "--policy", "pass_through", "--port", "9", "--pair"]
    done = subprocess.run(line, capture_output=True, text=True)
    assert done.returncode == 2
    assert "--journal" in done.stderr


def test_marks_are_in_the_trace(tracer: None) -> None:
    tracefs = Tracefs()
    instance = tracefs.instance("marks")
    try:
        descriptor = os.open(instance.path / "trace_marker", os.O_WRONLY)
        marks = Marks(descriptor)
        packet = Packet(SYN, id=7, arrived=1)
        marks.arrived(packet)
        marks.answered(Verdict(packet, "sent", 2))
        os.close(descriptor)
        lines = [line for line in (instance.path / "trace").read_text().splitlines() if "shaper S" in line]
    finally:
        instance.remove()
        tracefs.close()
    name = f"|{os.getpid()}|shaper S tcp 127.0.0.1:40000 > 127.0.0.1:8765|7"
    assert [line.rpartition(": ")[2] for line in lines] == ["S" + name, "F" + name]
    # The analysis ignores them.
    assert not list(read_lines(lines))


@pytest.mark.alone
def test_a_recorder_that_is_killed_leaves_nothing(tracer: None, tmp_path: Path) -> None:
    line = [sys.executable, "-c", MAIN, "trace", "--recording", str(tmp_path / "r"), "--", "sleep", "30"]
    running = subprocess.Popen(line)
    # Once there are snapshots, the recording has begun.
    snapshots = tmp_path / "r" / "snapshots.jsonl"
    while not snapshots.exists():
        assert running.poll() is None
    running.send_signal(signal.SIGKILL)
    running.wait()
    tracefs = Tracefs()
    try:
        # The copier removes the instances as soon as it notices the recorder's end.
        left = list((tracefs.path / "instances").glob(f"shaper-{running.pid}[-.]*"))
        while left:
            left = [path for path in left if path.exists()]
    finally:
        tracefs.close()
    assert (tmp_path / "r" / "recording.json").exists()
