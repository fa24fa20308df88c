"""`shaper run --network routed` and `dumbbell`: ends in networks of their own, and a router between, which shapes."""

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.schema import schema

pytestmark = pytest.mark.usefixtures("network")

SHAPER = (sys.executable, "-m", "shaper", "run")

ECHO = """
import socket
server = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
server.bind(("::", 9000))
while True:
    server.sendto(*server.recvfrom(2000))
"""
ASK = """
import json, os, socket, sys
for address in (os.environ["SHAPER_SERVER"], os.environ["SHAPER_SERVER_IPV6"]):
    found = socket.getaddrinfo("server", 9000, type=socket.SOCK_DGRAM)
    (family, kind, _, _, server), = [each for each in found if each[4][0] == address]
    client = socket.socket(family, kind)
    client.connect(server)
    assert client.getsockname()[0] in {each[4][0] for each in socket.getaddrinfo("client", 1)}
    for number in range(30):
        client.send(bytes([number]))
    assert [client.recv(9)[0] for _ in range(30)] == list(range(30))
    headers = 28 if family == socket.AF_INET else 48
    level, option = (0, 10) if family == socket.AF_INET else (41, 23)
    client.setsockopt(level, option, 2)  # IP_MTU_DISCOVER, IPV6_MTU_DISCOVER: don't fragment
    client.send(bytes(1300 - headers))
    assert len(client.recv(2000)) == 1300 - headers
    try:
        client.send(bytes(1301 - headers))
    except OSError as error:
        assert error.strerror == "Message too long"
print(os.getuid(), open("/proc/self/net/dev").read().count("eth0"))
sys.exit(3)
"""
RECEIVE = """
import socket
server = socket.create_server(("::", 9000), family=socket.AF_INET6, dualstack_ipv6=True)
while True:
    connection, _ = server.accept()
    received = 0
    while data := connection.recv(1 << 16):
        received += len(data)
    connection.sendall(b"%d" % received)
    connection.close()
"""
SEND = """
import os, socket, sys, time
client = socket.create_connection((os.environ["SHAPER_SERVER"], 9000))
begin = time.monotonic()
client.sendall(bytes(int(sys.argv[1])))
client.shutdown(socket.SHUT_WR)
assert int(client.recv(99)) == int(sys.argv[1])
print(begin, time.monotonic(), flush=True)
"""
OBEY = """
import signal, sys
signal.signal(signal.SIGINT, lambda number, frame: sys.exit(7))
print("ready", flush=True)
while True:
    signal.pause()
"""
SERVE = "import os, signal, socket; print(os.getpid(), flush=True); socket.create_server(('', 1)), signal.pause()"


def python(*words: str) -> list[str]:
    return [sys.executable, "-c", *words]


def test_both_families_pass_the_router_in_order_whole_and_counted(
    ordinary: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    given = ["--policy", "delay:20ms", "--network", "routed", "--mtu", "1300", "--json"]
    done = ordinary(*SHAPER, *given, "--at", "server", "--", *python(ECHO), "--at", "client", "--", *python(ASK))
    assert done.returncode == 3, done.stderr
    assert done.stderr.startswith("4711 1\n")
    summary = json.loads(done.stdout)
    assert (summary["taken"], summary["sent"], summary["bypassed"]) == (124, 124, 0)
    assert summary["wanted_hold"]["p50_ms"] == pytest.approx(20, abs=0.1)


def test_held_packets_do_not_count_against_their_sender(tmp_path: Path) -> None:
    """At its OUTPUT, such a sender would need 3 s, because of TCP's small queues."""
    given = ["--policy", "delay:20ms", "--network", "routed", f"--json={tmp_path}/out"]
    ends = ["--at", "server", "--", *python(RECEIVE), "--at", "client", "--", *python(SEND, "1000000")]
    done = subprocess.run([*SHAPER, *given, *ends], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    begin, end = map(float, done.stdout.splitlines()[0].split())
    assert 0.08 < end - begin < 2
    assert json.loads((tmp_path / "out").read_text())["bypassed"] == 0


def test_clients_share_the_bottleneck() -> None:
    given = ["--policy", "rate:8mbit", "--network", "dumbbell", "--clients", "2", "--offload", "off"]
    ends = ["server", "client", "client2"]
    commands = [python(RECEIVE), python(SEND, "250000"), python(SEND, "250000")]
    words = [word for end, command in zip(ends, commands, strict=True) for word in ("--at", end, "--", *command)]
    done = subprocess.run([*SHAPER, *given, *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (one, two), (three, four) = (map(float, line.split()) for line in done.stdout.splitlines()[:2])
    # Together they need half a second for 500 kB, however much of it they are at it at once.
    assert 0.5 < max(two, four) - min(one, three) < 5


def test_the_probe_has_the_same_waits_in_the_same_tables_as_on_lo() -> None:
    command = [*SHAPER[:-1], "probe", "--policy", "delay:20ms", "--network", "routed", "--json"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    schema("probe").validate(found)
    blockings = found["blockings"]
    waits = {each["syscall"]: (each["duration_ms"] - each["before_client_ms"]) / 20 for each in blockings}
    assert waits == pytest.approx({"accept4": 3, "pselect6": 2, "poll": 2}, abs=0.9)
    assert [len(each["held"]) for each in sorted(blockings, key=lambda it: it["syscall"])] == [3, 2, 2]


@contextmanager
def running(*given: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A run with a server and a client that both have started, and the server's process."""
    words = [*given, "--at", "server", "--", *python(SERVE), "--at", "client", "--", *python(OBEY)]
    with subprocess.Popen(
        [*SHAPER, "--policy", "delay:20ms", "--network", "routed", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        server = int(process.stdout.readline())
        assert process.stdout.readline() == "ready\n"
        yield process, server


def ends(process: int) -> bool:
    """Whether a process ends; soon, or it is too late."""
    try:
        return bool(select.select([os.pidfd_open(process)], [], [], 10)[0])
    except ProcessLookupError:
        return True


def test_a_signal_goes_to_the_client_whose_status_counts_and_the_server_is_ended() -> None:
    with running() as (process, server):
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)
        assert process.returncode == 7
        assert not Path(f"/proc/{server}").exists()


def test_nothing_is_left_of_one_that_is_killed() -> None:
    with running() as (process, server):
        client = next(pid for pid in children(process.pid) if pid != server and b"ready" in command_line(pid))
        process.kill()
        assert ends(server)
        os.kill(client, signal.SIGKILL)
        assert ends(client)
        deadline = time.monotonic() + 10
        while left := [pid for pid in os.listdir("/proc") if pid.isdecimal() and session(int(pid)) == process.pid]:
            assert time.monotonic() < deadline, left
            process.poll()
            time.sleep(0.01)


def children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def command_line(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return 0
