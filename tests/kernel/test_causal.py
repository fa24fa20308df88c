"""`shaper causal` with real programs."""

import json
import subprocess
import sys
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from shaper.cli import main
from shaper.experiment.causal import Causal
from shaper.experiment.classes import PacketClass
from shaper.experiment.profile import Profile
from shaper.experiment.results import Results
from shaper.experiment.run import run
from shaper.linux.capabilities import can
from shaper.trace.record.tracefs import obstacle
from shaper.units import ms, s
from tests.schema import schema

pytestmark = [pytest.mark.usefixtures("namespaces"), pytest.mark.alone]

CAP_SYS_NICE = 23  # linux/capability.h
SERVER = """
from http.server import HTTPServer, SimpleHTTPRequestHandler

class Handler(SimpleHTTPRequestHandler):
    disable_nagle_algorithm = True

HTTPServer(("127.0.0.1", 8000), Handler).serve_forever()
"""


def effects(tmp_path: Path, *arguments: str, budget: str = "3s") -> dict[str, dict[str, dict[str, Any]]]:
    """What `shaper causal` finds within this time, and as much again: measure -> class -> effect."""
    file, again, results = tmp_path / "causal.json", tmp_path / "again.json", tmp_path / "causal.parquet"
    assert main(["causal", f"--json={file}", "-o", str(results), "--budget", budget, *arguments]) == 0
    document = json.loads(file.read_text())
    assert main(["causal", "show", str(results), f"--json={again}"]) == 0
    assert json.loads(again.read_text()) == document
    schema("causal").validate(document)
    return {found["name"]: {each["class"]: each for each in found["effects"]} for found in document["measures"]}


@pytest.fixture
def slopes_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is tried but what says the effects: no curves, no pairs. Other tests here have them."""
    for more in ("curves", "pairs"):
        monkeypatch.setattr(Causal, more, lambda plan, results: iter(()))


def test_netcat(tmp_path: Path) -> None:
    """MISSION-FACTS: accept waits for SYN, SYN-ACK and ACK, select for the first two of these, poll for both FINs."""
    found = effects(tmp_path, "--workload", "netcat", "--order", "keep")
    accept = {"original syn": 1, "reply synack": 1, "original handshake-ack": 1}
    select = {"original syn": 1, "reply synack": 1}
    for measure, wanted in (("server accept4", accept), ("client pselect6", select)):
        classes = {name.partition(" ")[2]: each for name, each in found[measure].items()}
        predicted = {name: each["predicted"] for name, each in classes.items() if each["predicted"] > 0.2}
        assert predicted == pytest.approx(wanted, abs=0.1)
        for name, each in classes.items():
            assert each["value"] == pytest.approx(wanted.get(name, 0), abs=0.1 + each["margin"]), (measure, name)
    for name in ("original fin", "reply fin"):
        each = found["client poll"][f"tcp/8765 {name}"]
        assert each["value"] == pytest.approx(1, abs=0.1 + each["margin"]), name


def test_rounds_of_requests(slopes_alone: None, tmp_path: Path) -> None:
    found = effects(tmp_path, "--workload", "request:rounds=3")["duration"]
    for name in ("original data", "reply data"):
        assert found[f"tcp/8765 {name}"]["value"] == pytest.approx(3, abs=0.3 + found[f"tcp/8765 {name}"]["margin"])
    assert found["tcp/8765 original data"]["predicted"] == pytest.approx(3, abs=0.4)


def test_requests_in_a_pipeline(slopes_alone: None, tmp_path: Path) -> None:
    found = effects(tmp_path, "--workload", "pipeline")["duration"]
    for name in ("original data", "reply data"):
        assert found[f"tcp/8765 {name}"]["value"] == pytest.approx(1, abs=0.3 + found[f"tcp/8765 {name}"]["margin"])


def test_a_page_of_a_web_server(slopes_alone: None, tmp_path: Path) -> None:
    (tmp_path / "server.py").write_text(SERVER)
    server = f"{sys.executable} {tmp_path}/server.py"
    fetch = ["curl", "-s", "-o", "/dev/null", "http://127.0.0.1:8000/"]
    found = effects(tmp_path, "--delay", "50ms", "--server", server, "--", *fetch, budget="5s")["duration"]
    # Both programs do more than wait, so on a busy machine the intervals are wide.
    for name in ("original syn", "reply synack", "original data", "reply data"):
        assert found[f"tcp/8000 {name}"]["value"] == pytest.approx(1, abs=0.1 + found[f"tcp/8000 {name}"]["margin"])
    for name in ("original handshake-ack", "original pure-ack", "original fin"):
        assert found[f"tcp/8000 {name}"]["value"] == pytest.approx(0, abs=0.1 + found[f"tcp/8000 {name}"]["margin"])
    if obstacle() is None:
        predicted = {name.partition(" ")[2]: each["predicted"] for name, each in found.items()}
        waited = ("original syn", "reply synack", "original data", "reply data")
        assert predicted == pytest.approx({name: float(name in waited) for name in predicted}, abs=0.1)


def test_who_may_not_trace_gets_no_prediction(
    network: None, ordinary: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    command = ["causal", "--budget", "1s", "--", "ping", "-q", "-U", "-c", "1", "127.0.0.1"]
    said = ordinary(sys.executable, "-m", "shaper", *command).stdout
    assert "\nNo prediction: tracing needs root" in said
    assert "original icmp" in said


NAGLE = """
import socket, threading, time

def serve(listener):
    connection, _ = listener.accept()
    while connection.recv(100):
        connection.send(b"head")
        connection.send(b"body")

listener = socket.create_server(("127.0.0.1", 9000))
threading.Thread(target=serve, args=(listener,), daemon=True).start()
begin = time.monotonic()
client = socket.create_connection(("127.0.0.1", 9000))
for due in (begin, begin + 0.075):
    time.sleep(max(0, due - time.monotonic()))
    client.send(b"get")
    answer = b""
    while len(answer) < 8:
        answer += client.recv(100)
"""
"""The server's second write waits for the ACK of its first one (Nagle). The client's kernel sends that at once, unless
the client has sent data within 40 ms after it received some: then it delays ACKs by 40 ms (tcp_event_data_sent)."""


def test_an_idle_pair_of_nagle_and_delayed_acks(tmp_path: Path) -> None:
    """A SYN may be late at no cost, for the client waits anyway; but by more than 35 ms it costs 40 ms."""
    (tmp_path / "nagle.py").write_text(NAGLE)
    # Run before all others if that is allowed: the 40 ms must be seen in spite of other load on the machine.
    first = ("chrt", "-f", "1") if can(CAP_SYS_NICE) else ()
    command = (*first, sys.executable, "-I", "-S", str(tmp_path / "nagle.py"))
    syn = PacketClass("tcp/9000", "original", "syn")
    plan = Causal(command=command, delay=20 * ms, budget=6 * s, classes=[syn])
    found = Results(plan.about())
    assert run(chain(plan.trials(found), plan.curves(found)), found, plan.result)
    [effect] = Profile(found).shown[0].effects
    assert not effect.is_simple
    costs = {late: estimate.value for late, estimate in effect.curve}
    assert costs[max(costs)] == pytest.approx(40, abs=12)
    assert max(costs) == 40
    assert min(costs.values()) < 15


def test_a_command_that_fails_is_no_experiment(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["causal", "--", "sh", "-c", "echo oh no >&2; exit 3"]) == 1
    assert capsys.readouterr().err == "shaper: with nothing late, the command ended with status 3: oh no\n"
    assert main(["causal", "--", "true"]) == 1
    assert "no packets came" in capsys.readouterr().err
