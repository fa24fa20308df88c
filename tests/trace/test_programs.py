"""The smallest programs whose waits were once explained wrongly, or not at all."""

import sys
from pathlib import Path
from typing import Any

import pytest

from shaper.journal import read_journal
from tests.trace.conftest import Shaper

DELAY = 40.0
LATE = 30.0
"""On a busy machine the engine itself may be late; less than one delay more or less."""
"""How much later than planned things may happen here (ms)."""

ANSWER = """
import socket, sys, threading
size, listener = int(sys.argv[1]), socket.create_server(("127.0.0.1", 8765))
def serve():
    connection, _ = listener.accept()
    connection.recv(100)
    connection.sendall(bytes(size))
    connection.close()
threading.Thread(target=serve).start()
client = socket.create_connection(("127.0.0.1", 8765))
client.sendall(b"question")
while client.recv(65536): pass
"""
CONNECTIONS = """
import socket, threading, time
listener = socket.create_server(("127.0.0.1", 8765), backlog=64)
time.sleep(0.2)
def connect():
    socket.create_connection(("127.0.0.1", 8765)).close()
threads = [threading.Thread(target=connect) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""
CONNECT = 'import socket; s = socket.create_server(("127.0.0.1", 8765)); socket.create_connection(s.getsockname())'
NETCAT = """
nc -l 127.0.0.1 8765 >/dev/null &
server=$!
until grep -q :223D /proc/net/tcp; do sleep 0.01; done  # it listens
echo lttng | nc -N 127.0.0.1 8765
wait $server
"""
KERNEL_THREADS = {
    "a mount": "unshare -m sh -c 'mount --make-rprivate / ; mount --bind /etc/hostname /etc/issue'",
    "a write to the disk": "dd if=/dev/zero of=$(mktemp -p .) bs=64k count=8 conv=fsync 2>/dev/null",
}
LOOP = """
import select, socket, threading, time
listener = socket.create_server(("127.0.0.1", 8765))
def serve():
    connection, _ = listener.accept()
    connection.recv(100)
    time.sleep(0.3)
    connection.send(b"x")
threading.Thread(target=serve).start()
client = socket.create_connection(("127.0.0.1", 8765))
client.sendall(b"question")
poll = select.poll()
poll.register(client, select.POLLIN)
while not poll.poll(100): pass
"""

Row = dict[str, Any]


def run(shaper: Shaper, policy: str, *command: str) -> Row:
    result: Row = shaper("run", "--policy", policy, "--trace", "--", *command)["trace"]
    assert result["lost"] == 0
    return result


def held(rows: list[Row]) -> float:
    parts = (part for row in rows for part in row["held"])
    total: float = sum(part["ms"] for part in parts if part["policy"] != "shaper")
    return total


@pytest.mark.parametrize("size", [1448, 2896, 100_000])
def test_an_answer_of_any_size_leads_back_to_the_question(shaper: Shaper, size: int) -> None:
    trace = run(shaper, f"delay:time={DELAY:.0f}ms", sys.executable, "-c", ANSWER, str(size))
    reads = [row for row in trace["blockings"] if row["syscall"] == "recvfrom" and row["role"] == "client"]
    first = min((row for row in reads if row["duration_ms"] > DELAY), key=lambda row: row["start_ns"])
    # The server is woken by the question; or by the ACK just before it, and finds the question there.
    answer, before = first["held"]
    assert answer["class"] == "data"
    assert before["class"] in ("data", "handshake-ack")
    assert held([first]) == pytest.approx(2 * DELAY, abs=LATE)
    assert sum(row["unexplained_ms"] for row in reads) < 0.1 * sum(row["duration_ms"] for row in reads)


def test_each_connect_is_explained_by_its_own_connection(shaper: Shaper, tmp_path: Path) -> None:
    recording = tmp_path / "recording"
    policy = ("--policy", f"delay:time={DELAY:.0f}ms")
    shaper("run", *policy, "--recording", recording, "--", sys.executable, "-c", CONNECTIONS)
    _, records = read_journal(recording / "journal.jsonl")
    ports = {record.id: {record.flow.sport, record.flow.dport} - {8765} for record in records}
    rows = [row for row in shaper("report", recording)["blockings"] if row["syscall"] == "connect"]
    used = [ports[part["packet"]].pop() for row in rows for part in row["held"][:1]]
    assert len(rows) == 8
    assert len(set(used)) == 8
    for row in rows:
        assert [part["class"] for part in row["held"]] == ["synack", "syn"], row


@pytest.mark.parametrize("after", KERNEL_THREADS.values(), ids=KERNEL_THREADS)
def test_a_kernels_thread_does_not_swallow_what_was_before(shaper: Shaper, after: str, tmp_path: Path) -> None:
    script = f"cd {tmp_path}\n{NETCAT}\n{after}"
    trace = run(shaper, f"delay:time={DELAY:.0f}ms", "sh", "-c", script)
    lines = trace["glance"]["lines"]
    assert sum(line["ms"] for line in lines if line["what"].startswith("held by")) > 3 * DELAY
    assert sum(line["ms"] for line in lines if "not recorded" in line["what"]) < 2 * DELAY


@pytest.mark.alone
def test_a_lost_packet_is_named(shaper: Shaper) -> None:
    trace = run(shaper, "drop_first:only=syn", sys.executable, "-c", CONNECT)
    (connect,) = (row for row in trace["blockings"] if row["syscall"] == "connect" and row["duration_ms"] > 500)
    (lost,) = connect["dropped"]
    assert (lost["packet"], lost["class"], lost["policy"]) == (1, "syn", "drop_first")
    assert connect["retransmission_ms"] == pytest.approx(lost["ms"])
    assert trace["glance"]["lines"][0]["lost"][0]["packet"] == "SYN #1 (drop_first)"


def test_time_outs_of_a_loop_are_one_wait(shaper: Shaper) -> None:
    trace = run(shaper, f"delay:time={DELAY:.0f}ms", sys.executable, "-c", LOOP)
    (poll,) = (row for row in trace["blockings"] if row["syscall"] == "poll" and row["duration_ms"] > 200)
    assert poll["timeouts"] in (3, 4)  # the peer is late on a busy machine
    assert poll["waker"]["kind"] == "packet"
    assert poll["peer_ms"] == pytest.approx(300, abs=LATE)
    assert held([poll]) == pytest.approx(2 * DELAY, abs=LATE)
