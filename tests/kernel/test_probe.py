"""The probe in real private namespaces: what it measures, and that it always ends."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import linear_regression, median
from typing import Any

import pytest

from shaper.report.blocking import PARTS
from tests.schema import schema

pytestmark = pytest.mark.usefixtures("network")

SHAPER = (sys.executable, "-m", "shaper")
Probe = Callable[..., dict[str, Any]]


def probe(*given: str, status: int = 0) -> dict[str, Any]:
    """The document that `shaper probe` writes."""
    return document(subprocess.run([*SHAPER, "probe", *given, "--json"], capture_output=True, text=True), status)


def document(done: subprocess.CompletedProcess[str], status: int = 0) -> dict[str, Any]:
    assert done.returncode == status, done.stderr
    content: dict[str, Any] = json.loads(done.stdout)
    schema("probe").validate(content)
    return content


def waited(content: dict[str, Any], role: str, syscall: str, nth: int = 0) -> float:
    """The median over the runs of the nth blocking of this call, without the time before the client (ms)."""
    runs: dict[int, list[float]] = {}
    for each in content["blockings"]:
        if (each["role"], each["syscall"]) == (role, syscall):
            runs.setdefault(each["run"], []).append(each["duration_ms"] - each["before_client_ms"])
    return median(durations[nth] for durations in runs.values())


def chains(content: dict[str, Any], at_least: float = 20) -> list[tuple[str, str, str, list[str]]]:
    """The waits of at least this many ms, with the classes of the packets in their chain, the last first."""
    found = []
    for each in content["blockings"]:
        if each["duration_ms"] >= at_least:
            packets = dict.fromkeys((held["packet"], held["class"]) for held in each["held"] if held["ms"] > 2)
            found.append((each["role"], each["syscall"], each["waited_for"], [name for _, name in packets]))
    return sorted(found)


@pytest.fixture(params=["root", "ordinary user"])
def either(request: pytest.FixtureRequest) -> Probe:
    """`shaper probe`, by either kind of user."""
    if request.param == "root":
        return probe
    ordinary = request.getfixturevalue("ordinary")
    return lambda *given: document(ordinary(*SHAPER, "probe", *given, "--json"))


@pytest.mark.alone
def test_the_experiment(either: Probe) -> None:
    content = either("--policy", "delay:time=100ms", "--repeat", "3")
    # Counted from connect, since a client off the CPU calls select and poll late. So counted, they are never too
    # short; how much longer they are depends on what else the machine does.
    reached = content["milestones"]
    assert 200 <= reached["connected_minus_connect_ms"] < 220
    assert 300 <= reached["accept_return_minus_connect_ms"] < 330
    assert 400 <= reached["closed_minus_connect_ms"] < 440
    assert waited(content, "client", "pselect6") < 220
    assert waited(content, "client", "poll") < 220
    assert content["milestones"]["handshake_completed_by"] == "ACK"


@pytest.mark.alone
def test_waits_are_multiples_of_the_delay(real_root: None) -> None:
    """3.00, 2.00 and 2.00 delays, and at 100 ms within 10 ms of them; the probe has real-time priority here."""
    delays = [10, 50, 100, 200]
    contents = [probe("--policy", f"delay:time={delay}ms", "--repeat", "3") for delay in delays]
    measured = {
        3: [content["milestones"]["accept_return_minus_connect_ms"] for content in contents],
        2: [waited(content, "client", "poll") for content in contents],
    }
    selects = [waited(content, "client", "pselect6") for content in contents]
    for factor, waits in [*measured.items(), (2, selects)]:
        assert linear_regression(delays, waits).slope == pytest.approx(factor, abs=0.03)
        assert waits[2] == pytest.approx(100 * factor, abs=10)


@pytest.mark.alone
def test_chains_of_netcat() -> None:
    assert chains(probe("--policy", "delay:time=100ms")) == [
        ("client", "poll", "end of file", ["fin", "fin"]),
        ("client", "pselect6", "handshake", ["synack", "syn"]),
        ("server", "accept4", "handshake", ["handshake-ack", "synack", "syn"]),
    ]


@pytest.mark.alone
def test_chains_of_a_spread_burst() -> None:
    content = probe("--policy", "delay:time=100ms", "--policy", "spread_burst:gap=100ms")
    assert chains(content) == [
        ("client", "poll", "end of file", ["fin", "fin"]),
        ("client", "pselect6", "handshake", ["synack", "syn"]),
        ("server", "accept4", "handshake", ["handshake-ack", "synack", "syn"]),
        ("server", "poll", "data", ["data"]),
        ("server", "poll", "end of file", ["fin"]),
    ]
    assert 380 < waited(content, "client", "poll") < 440


@pytest.mark.alone
def test_chains_of_request() -> None:
    assert chains(probe("--workload", "request:rounds=2", "--policy", "delay:time=50ms")) == [
        ("client", "connect", "handshake", ["synack", "syn"]),
        ("client", "recvfrom", "data", ["data", "data"]),
        ("client", "recvfrom", "data", ["data", "data"]),
        ("server", "accept4", "handshake", ["handshake-ack", "synack", "syn"]),
        ("server", "recvfrom", "data", ["data", "data"]),
        ("server", "recvfrom", "end of file", ["fin", "data"]),
    ]


@pytest.mark.alone
@pytest.mark.parametrize(
    "workload",
    ["netcat", "connect", "connects", "request", "pipeline", "bulk", "idle:gap=50ms", "tls", "http", "udp"],
)
def test_every_wait_is_explained(workload: str) -> None:
    content = probe("--workload", workload, "--policy", "delay:time=30ms", "--repeat", "3")
    assert content["blockings"]
    assert median(each["unexplained_ms"] for each in content["blockings"]) < 5
    for each in content["blockings"]:
        parts = sum(held["ms"] for held in each["held"]) + sum(each[f"{part}_ms"] for part in PARTS)
        assert parts == pytest.approx(each["duration_ms"], abs=0.001)
        assert all(held["ms"] <= held["hold_ms"] + 0.001 for held in each["held"])


def test_a_refused_connection() -> None:
    content = probe("--client", "127.0.0.1", "--timeout", "5s", status=1)
    assert content["calls"][-1]["error"] == "ECONNREFUSED"
    assert content["runs"][0]["ends"] == [
        {"role": "client", "pid": content["calls"][0]["pid"], "error": "Connection refused"}
    ]


DROP_FIRST = """
from shaper import Drop, Policy

class DropFirst(Policy):
    _seen = 0

    def on_packet(self, packet, now):
        self._seen += 1
        if self._seen == 1 and packet.kind == "syn":
            return Drop(packet)
"""


@pytest.mark.alone
def test_a_dropped_syn_is_a_wait_for_the_retransmission(tmp_path: Path) -> None:
    policy = tmp_path / "drop_first.py"
    policy.write_text(DROP_FIRST)
    content = probe("--workload", "connect", "--policy", str(policy))
    (connect,) = (each for each in content["blockings"] if each["syscall"] == "connect")
    # The first retransmission comes after a second (RFC 6298, section 2).
    assert 950 < connect["retransmission_ms"] < 1500
    assert [packet["fate"] for packet in content["packets"]][:2] == ["dropped", "sent"]


def test_no_syn_gets_through() -> None:
    content = probe("--policy", "loss:100%", "--timeout", "2s", status=1)
    (select,) = (each for each in content["blockings"] if each["role"] == "client")
    assert (select["syscall"], select["waited_for"], select["ended"]) == ("pselect6", "handshake", False)
    assert 1900 < select["duration_ms"] < 4000
    assert {end["error"] for end in content["runs"][0]["ends"]} == {"it was not done within 2 s"}


DYING = """
import os, signal

from shaper.probe.ends.workload import Workload

class Dying(Workload):
    def server(self, end):
        connection = end.accept()
        connection.recv(100)
        os.kill(os.getpid(), signal.SIGKILL)

    def client(self, end):
        connection = end.connect()
        connection.sendall(b"are you well?")
        connection.recv(100)
        connection.close()
"""


def test_a_peer_that_dies(tmp_path: Path) -> None:
    workload = tmp_path / "dying.py"
    workload.write_text(DYING)
    content = probe("--workload", str(workload), "--policy", "delay:time=20ms", status=1)
    assert {end["role"]: end["error"] for end in content["runs"][0]["ends"]} == {"server": "it died", "client": None}
    (receive,) = (each for each in content["blockings"] if (each["role"], each["syscall"]) == ("client", "recvfrom"))
    assert (receive["waited_for"], receive["held"][0]["class"]) == ("end of file", "fin")


def test_two_ends_apart() -> None:
    with subprocess.Popen(
        [*SHAPER, "probe", "--server", "--port", "9001", "--json"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as server:
        # If the client comes before the server listens, it is refused and tries again.
        for _ in range(50):
            client = subprocess.run(
                [*SHAPER, "probe", "--client", "127.0.0.1", "--port", "9001"], capture_output=True, text=True
            )
            if client.returncode == 0:
                break
        output, _ = server.communicate()
    assert client.returncode == 0, client.stderr
    # What the other end did and what shaped the packets is not known here.
    assert client.stdout.startswith("netcat: the client alone\n")
    assert "server:" not in client.stdout
    assert server.returncode == 0
    calls = [call["syscall"] for call in json.loads(output)["calls"]]
    assert calls == ["accept4", "poll", "recvfrom", "poll", "recvfrom", "close"]


def test_user_namespaces_switched_off(ordinary: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    # A user namespace has a limit of its own. Without CAP_SYS_ADMIN, the probe needs one more.
    off = 'echo 0 > /proc/sys/user/max_user_namespaces; exec setpriv --bounding-set=-sys_admin "$@"'
    done = ordinary("unshare", "-Ur", "sh", "-c", off, "sh", *SHAPER, "probe")
    assert done.returncode == 1
    assert done.stderr.startswith("shaper: user namespaces are switched off here; switch them on with `sudo sysctl ")


def test_the_report(tmp_path: Path) -> None:
    figure = tmp_path / "netcat.svg"
    command = [*SHAPER, "probe", "--policy", "delay:time=50ms", "--figure", str(figure)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert max(map(len, done.stdout.splitlines())) <= 80
    for expected in ("accept4 3", "handshake", "end of file", "← SYN-ACK(", "Stddev", "├─ SYN ─", f"figure: {figure}"):
        assert expected in done.stdout
    assert figure.read_text().startswith("<?xml")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("--workload", "netcta"), "there is no workload 'netcta' (did you mean 'netcat'?)"),
        (("--workload", "request:round=1"), "request has no option 'round' (did you mean 'rounds'?)"),
        (("--figure", "x.gif"), "x.gif: a figure is written as .svg, .png or .html"),
        (("--server", "--client", "::1"), "--server and --client are the two ends"),
        (("--policy", "dellay"), "there is no policy 'dellay'"),
    ],
)
def test_mistakes(given: tuple[str, ...], message: str) -> None:
    done = subprocess.run([*SHAPER, "probe", *given], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith(f"shaper: {message}")
    assert done.stderr.count("\n") == 1
