"""Six small programs, each of which sleeps in a known call until something known wakes it."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import pytest

from shaper.report.blocking import PARTS
from tests.trace.conftest import Shaper

ROOT = Path(__file__).parents[2]
SLEEP = 0.2
# Every program sleeps this long (ms) in the call in question, and in no other call.
LONG = SLEEP * 1000 * 0.9

PIPE = f"""
import os, time
read, write = os.pipe()
if os.fork() == 0:
    time.sleep({SLEEP})
    os.write(write, b"x")
    os._exit(0)
os.read(read, 1)
os.wait()
"""
FUTEX = f"""
import threading, time
lock = threading.Lock()
lock.acquire()
threading.Thread(target=lambda: (time.sleep({SLEEP}), lock.release())).start()
lock.acquire()
"""
CHILD = f"""
import os, time
if os.fork() == 0:
    time.sleep({SLEEP})
    os._exit(0)
os.wait()
"""
TIMER = f"""
import time
time.sleep({SLEEP})
"""
LOOPBACK = f"""
import os, socket, time
listener = socket.create_server(("127.0.0.1", 0))
if os.fork() == 0:
    client = socket.create_connection(listener.getsockname())
    time.sleep({SLEEP})
    client.send(b"x")
    os._exit(0)
server, _ = listener.accept()
server.recv(1)
os.wait()
"""
DISK = """
import os, sys
file = os.open(sys.argv[1], os.O_RDONLY)
os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
os.posix_fadvise(file, 0, 0, os.POSIX_FADV_RANDOM)  # nothing is read ahead
for start in range(0, os.fstat(file).st_size, 1 << 20):
    os.pread(file, 1 << 20, start)  # large, so that it takes long enough to be waited for
"""

Row = dict[str, Any]


def traced(shaper: Shaper, program: str, *arguments: Path) -> list[Row]:
    document = shaper("trace", "--", sys.executable, "-c", program, *arguments)
    assert document["lost"] == 0
    assert document["cut"] == ""
    rows: list[Row] = document["blockings"]
    for row in rows:
        assert sum(row[f"{part}_ms"] for part in PARTS) == pytest.approx(row["duration_ms"])
    return rows


def long(rows: list[Row], *syscalls: str) -> Row:
    """The one long blocking in one of these calls."""
    found = [row for row in rows if row["syscall"] in syscalls and row["duration_ms"] > LONG]
    assert len(found) == 1, rows
    return found[0]


def test_pipe(shaper: Shaper) -> None:
    rows = traced(shaper, PIPE)
    row, sleeper = long(rows, "read"), long(rows, "clock_nanosleep")
    assert row["waker"] == {"kind": "task", "name": f"{sleeper['task']}[{sleeper['tid']}]"}
    assert row["peer_ms"] > LONG
    assert row["file"].startswith("pipe")


def test_futex(shaper: Shaper) -> None:
    rows = traced(shaper, FUTEX)
    row, sleeper = long(rows, "futex"), long(rows, "clock_nanosleep")
    assert row["waker"] == {"kind": "task", "name": f"{sleeper['task']}[{sleeper['tid']}]"}
    assert row["tid"] != sleeper["tid"]
    assert row["pid"] == sleeper["pid"]


def test_child(shaper: Shaper) -> None:
    rows = traced(shaper, CHILD)
    row, sleeper = long(rows, "wait4"), long(rows, "clock_nanosleep")
    assert row["waker"] == {"kind": "task", "name": f"{sleeper['task']}[{sleeper['tid']}]"}
    assert row["pid"] != sleeper["pid"]


def test_timer(shaper: Shaper) -> None:
    row = long(traced(shaper, TIMER), "clock_nanosleep")
    assert row["waker"] == {"kind": "hrtimer", "name": "hrtimer hrtimer_wakeup"}
    assert row["waited_for"] == "timer"
    assert row["timer_ms"] > LONG


def test_loopback(shaper: Shaper) -> None:
    rows = traced(shaper, LOOPBACK)
    row, sleeper = long(rows, "recvfrom"), long(rows, "clock_nanosleep")
    assert row["waker"] == {"kind": "softirq", "name": "NET_RX"}
    assert row["waited_for"] == "network"
    # The softirq ran in the peer's send, so the wait was for the peer's sleep.
    assert row["peer_ms"] > LONG
    assert sleeper["pid"] != row["pid"]
    assert row["file"].startswith("tcp 127.0.0.1:")


def is_read_from_a_disk(file: Path) -> bool:
    """Whether reads of this file wait for a disk, once it is no longer in memory."""

    def read_from_disks() -> int:
        return int(Path("/proc/thread-self/io").read_text().split("\nread_bytes: ")[1].split()[0])

    with file.open("rb", buffering=0) as opened:
        os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        before = read_from_disks()
        opened.read(1 << 20)
        return read_from_disks() - before >= 1 << 20


@pytest.fixture
def on_disk(tmp_path: Path) -> Iterator[Path]:
    """A large file that has to be read from a disk, wherever there is one: /tmp may be in memory."""
    for folder in (tmp_path, ROOT, Path("/var/tmp")):
        with NamedTemporaryFile(dir=folder) as file:
            for _ in range(16):
                file.write(bytes(1 << 20))
            file.flush()
            os.fsync(file.fileno())
            if is_read_from_a_disk(Path(file.name)):
                yield Path(file.name)
                return
    # All that is written may be kept in memory, over programs that are on a disk.
    programs = sorted(filter(Path.is_file, Path("/usr/bin").iterdir()), key=lambda path: -path.stat().st_size)
    for program in filter(is_read_from_a_disk, programs[:20]):
        yield program
        return
    pytest.skip("no file here is on a disk")


def test_disk(shaper: Shaper, on_disk: Path) -> None:
    rows = [row for row in traced(shaper, DISK, on_disk) if row["syscall"] == "pread64"]
    assert rows
    for row in rows:
        assert row["waited_for"] == "disk"
        assert row["waker"]["kind"] in ("softirq", "irq")
