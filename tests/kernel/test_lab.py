"""Labs: real commands in private networks, and nothing of a trial in the next one."""

import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from multiprocessing.connection import wait
from pathlib import Path

import pytest

from shaper.errors import ShaperError, UsageError
from shaper.experiment import Lab, Outcome, Trial
from shaper.experiment.lab import RUN
from shaper.units import ms, s

pytestmark = pytest.mark.usefixtures("namespaces")

SERVER_AND_CLIENT = """
import socket
server = socket.socket()
server.bind(("127.0.0.1", 4000))
server.listen()
client = socket.create_connection(server.getsockname())
there, _ = server.accept()
there.sendall(b"hello")
print(client.recv(5).decode(), flush=True)
there.close()
"""
HANGS = """
from shaper import Policy

class Hangs(Policy):
    def on_packet(self, packet, now):
        while True:
            pass
"""
FAILS = """
from shaper import Policy

class Fails(Policy):
    def on_packet(self, packet, now):
        raise ValueError("no")
"""
AS_ORDINARY_USER = """
from shaper.experiment import Lab, Trial
with Lab() as lab:
    for _ in range(3):
        outcome = lab.run(Trial(("sh", "-c", "id -u; ping -U -c1 127.0.0.1; sleep 60 &"), ("delay:20ms",)))
        assert outcome.status == 0, outcome
        print(outcome.stdout.split()[0].decode(), len(outcome.records), outcome.summary["bypassed"])
"""


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab() as made:
        yield made


def sh(line: str, *policies: str, seed: str = "0", timeout: int = 30 * s) -> Trial:
    return Trial(("sh", "-c", line), policies, seed, timeout=timeout)


def fates(outcome: Outcome) -> list[tuple[str, str]]:
    return [(record.kind, record.fate) for record in outcome.records]


def test_what_comes_of_a_command(lab: Lab) -> None:
    outcome = lab.run(sh("ping -U -c1 127.0.0.1; echo oh no >&2; exit 3", "delay:20ms"))
    assert outcome.status == 3
    assert outcome.failed
    assert not outcome.timed_out
    assert 40 * ms < outcome.duration < 1 * s
    assert b"1 received" in outcome.stdout
    assert outcome.stderr == b"oh no\n"
    assert fates(outcome) == [("icmp", "sent")] * 2
    assert all(record.held[0].policy == "delay" for record in outcome.records)
    assert outcome.summary["taken"] == outcome.summary["sent"] == 2
    assert outcome.summary["bypassed"] == 0


def test_what_it_was_ended_by(lab: Lab) -> None:
    assert lab.run(sh("kill -9 $$")).status == -9
    outcome = lab.run(sh("sleep 60 & sleep 60", timeout=300 * ms))
    assert outcome.status is None
    assert outcome.timed_out
    assert 300 * ms < outcome.duration < 3 * s


def test_only_the_end_of_its_output_is_kept(lab: Lab) -> None:
    outcome = lab.run(sh("yes | head -c 1000000; echo end"))
    assert len(outcome.stdout) == 1 << 16
    assert outcome.stdout.endswith(b"y\nend\n")


def test_files_that_the_command_wrote(lab: Lab, tmp_path: Path) -> None:
    file, other = str(tmp_path / "numbers.json"), str(tmp_path / "other")
    trial = Trial(("sh", "-c", f"echo 1 > {file}"), files=(file, other))
    assert lab.run(trial).files == {file: b"1\n"}
    assert lab.run(trial).files == {file: b"1\n"}
    assert lab.run(Trial(("true",), files=(file, other))).files == {}


def test_each_trial_has_a_network_of_its_own(lab: Lab) -> None:
    """The port of a connection that waits in TIME_WAIT can't be bound again for a minute; without SO_REUSEADDR."""
    for _ in range(3):
        outcome = lab.run(Trial(command=(sys.executable, "-c", SERVER_AND_CLIENT)))
        assert (outcome.status, outcome.stdout) == (0, b"hello\n")
        assert [record.kind for record in outcome.records][:4] == ["syn", "synack", "handshake-ack", "data"]


def test_servers_are_ended(lab: Lab, tmp_path: Path) -> None:
    server = f"{sys.executable} -m http.server -b 127.0.0.1 8000 & echo $! > {tmp_path}/pid"
    daemon = f"setsid sh -c 'sleep 1000 & echo $! >> {tmp_path}/pid; wait' &"
    outcome = lab.run(sh(f"{server}; {daemon} until [ $(wc -l < {tmp_path}/pid) = 2 ]; do sleep .01; done"))
    assert outcome.status == 0
    for pid in (tmp_path / "pid").read_text().split():
        assert not is_running(int(pid))
    assert lab.run(sh("exec 3<>/dev/tcp/127.0.0.1/8000")).status != 0


def test_a_server_that_comes_first_is_not_timed(lab: Lab) -> None:
    server = ("sh", "-c", f"sleep 1; exec {sys.executable} -m http.server -b 127.0.0.1 8000")
    fetch = ("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "http://127.0.0.1:8000/")
    outcome = lab.run(Trial(fetch, ("delay:20ms",), server=server))
    assert (outcome.status, outcome.stdout) == (0, b"200")
    assert 80 * ms < outcome.duration < 1000 * ms
    with pytest.raises(ShaperError, match="the server ended before anyone could reach it: true"):
        lab.run(Trial(("true",), server=("true",)))
    with pytest.raises(ShaperError, match="the server listens to nothing after 100ms: sleep 5"):
        lab.run(Trial(("true",), timeout=100 * ms, server=("sleep", "5")))


def test_the_seed_decides(lab: Lab) -> None:
    ping = "ping -U -c 20 -i 0.002 -W 0.2 127.0.0.1; true"
    first, again, other = (fates(lab.run(sh(ping, "loss:30%", seed=seed))) for seed in ("a", "a", "b"))
    assert first == again != other


def test_packets_that_are_held_at_the_end_go_on(lab: Lab) -> None:
    begin = time.monotonic()
    outcome = lab.run(sh("ping -U -c1 -W 0.1 127.0.0.1; true", "delay:9s"))
    assert time.monotonic() - begin < 5
    assert fates(outcome)[0] == ("icmp", "sent")
    assert outcome.summary["problems"] == []


def test_a_workload(lab: Lab) -> None:
    outcome = lab.run(Trial(workload="netcat", policies=("delay:20ms",)))
    assert outcome.status == 0
    waits = Counter[str]()
    for blocking in outcome.blockings:
        waits[blocking.syscall] += blocking.duration - blocking.before_client
    assert waits["accept4"] / (20 * ms) == pytest.approx(3, abs=0.9)
    assert round(waits["pselect6"] / (20 * ms), 1) == pytest.approx(2, abs=0.3)
    assert round(waits["poll"] / (20 * ms), 1) == pytest.approx(2, abs=0.3)
    assert outcome.duration >= 80 * ms


def test_a_policy_that_fails(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "fails.py").write_text(FAILS)
    outcome = lab.run(sh("ping -U -c1 127.0.0.1", f"{tmp_path}/fails.py"))
    assert outcome.status == 0
    assert outcome.summary["policy_failures"] == 2
    assert "ValueError" in outcome.summary["problems"][0]


def test_what_can_not_be_run_is_one_line_and_the_lab_goes_on(lab: Lab) -> None:
    with pytest.raises(UsageError, match="there is no policy 'dealy'"):
        lab.run(sh("true", "dealy:20ms"))
    with pytest.raises(UsageError, match="there is no program 'nowhere' to run"):
        lab.run(Trial(command=("nowhere",)))
    with pytest.raises(UsageError, match="there is no workload 'nowhat'"):
        lab.run(Trial(workload="nowhat"))
    assert lab.run(sh("true")).status == 0


def test_a_policy_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hangs.py").write_text(HANGS)
    impatient = f"import shaper.experiment.process as process; process.PATIENCE = {s}; from shaper"
    monkeypatch.setattr("shaper.experiment.lab.RUN", RUN.replace("from shaper", impatient, 1))
    with Lab() as lab:
        with pytest.raises(ShaperError, match="the process of a trial died"):
            lab.run(sh("ping -c1 127.0.0.1", f"{tmp_path}/hangs.py", timeout=100 * ms))
        assert lab.run(sh("true")).status == 0


def test_a_lab_that_ends_ends_its_trial(tmp_path: Path) -> None:
    with Lab() as lab:
        lab.start(sh(f"echo $$ > {tmp_path}/pid; sleep 1000"))
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
            time.sleep(0.01)
    assert not is_running(int((tmp_path / "pid").read_text()))


def test_several_labs_at_once() -> None:
    with Lab() as one, Lab() as other:
        began = time.monotonic()
        one.start(sh("sleep 2; echo 1"))
        other.start(sh("sleep 0.1; echo 2"))
        assert wait([one.fileno(), other.fileno()]) == [other.fileno()]
        assert other.result().stdout == b"2\n"
        assert one.result().stdout == b"1\n"
        assert time.monotonic() - began < 4


def test_an_ordinary_user(ordinary: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    done = ordinary(sys.executable, "-c", AS_ORDINARY_USER)
    assert (done.stdout.split("\n"), done.stderr) == (["4711 2 0"] * 3 + [""], "")


def is_running(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()
