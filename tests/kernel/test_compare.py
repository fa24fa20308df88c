"""The comparison in real private namespaces: what a constant delay hides."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shaper.trace.record.tracefs import obstacle
from tests.schema import schema

pytestmark = pytest.mark.usefixtures("network")

SHAPER = (sys.executable, "-m", "shaper")


def compare(*given: str) -> tuple[dict[str, Any], str]:
    """The document that `shaper compare` writes, and the report that it prints."""
    done = subprocess.run([*SHAPER, "compare", "--json", *given], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    content = json.loads(done.stdout)
    schema("compare").validate(content)
    return content, done.stderr


@pytest.mark.alone
def test_the_two_waits_of_the_server_are_hidden_by_netem() -> None:
    # Once each: what waits for a delay waits for 100 ms, and on a busy machine all else for a few.
    content, printed = compare("--repeat", "1", "--threshold", "40ms")
    assert [each["name"] for each in content["conditions"]] == [
        "none", "netem", "delay", "spread", "held ACK", "SYN-ACK",
    ]  # fmt: skip
    rows = {(row["role"], row["syscall"], row["nth"]): row for row in content["rows"]}
    hidden = {key: row["waited_for"] for key, row in rows.items() if row["hidden_by_netem"]}
    assert hidden[("server", "poll", 1)] == "data"
    assert hidden[("server", "poll", 2)] == "end of file"
    assert not hidden.keys() & {("client", "pselect6", 1), ("client", "poll", 1), ("server", "accept4", 1)}
    poll = rows["client", "poll", 1]["cells"]
    # From two delays to four.
    assert 195 < poll["netem"]["median_ms"] < 250
    assert 390 < poll["spread"]["median_ms"] < 450
    assert printed.count("hidden by netem: server poll") == 2
    assert "±" not in printed, "what was measured once has no spread"
    assert "longer than under netem: client poll (end of file)" in printed
    # Either netem itself, or a stand-in that says so.
    netem = content["conditions"][1]
    assert netem["policies"] == [] or "delay:time=100ms stands in" in netem["note"]
    assert max(map(len, printed.splitlines())) <= 80


@pytest.mark.alone
def test_whether_the_ack_or_the_data_completed_the_handshake() -> None:
    content, printed = compare(
        "--condition", "ACK=delay:time=50ms",
        "--condition", "late ACK=delay:time=200ms,only=handshake-ack",
        "--repeat", "1",
    )  # fmt: skip
    by = {each["name"]: each["milestones"] for each in content["conditions"]}
    assert by["ACK"]["handshake_completed_by"] == "ACK"
    assert by["late ACK"]["handshake_completed_by"] == "data"
    # The client's select is done, the server's accept is not yet.
    early = by["ACK"]
    assert early["accept_return_minus_connect_ms"] - early["connected_minus_connect_ms"] > 45
    late = by["late ACK"]
    assert late["accept_return_minus_connect_ms"] < 100
    assert "completed by" in printed


@pytest.mark.alone
def test_an_ordinary_user(ordinary: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    spread = "spread=delay:time=50ms | spread_burst:gap=50ms"
    given = [
        "--condition",
        'netem:"delay 50ms"',
        "--condition",
        spread,
        "--repeat",
        "1",
        "--threshold",
        "30ms",
        "--json",
    ]
    done = ordinary(*SHAPER, "compare", *given)
    assert done.returncode == 0, done.stderr
    rows = [row for row in json.loads(done.stdout)["rows"] if (row["role"], row["syscall"]) == ("server", "poll")]
    assert [(row["waited_for"], row["hidden_by_netem"]) for row in rows] == [("data", True), ("end of file", True)]


TALK = """
import socket, os
listening = socket.create_server(("127.0.0.1", 7000))
if os.fork():
    connection, _ = listening.accept()
    while connection.recv(100): pass
    os.wait()
else:
    with socket.create_connection(("127.0.0.1", 7000)) as connection: connection.sendall(b"x")
"""
SLOWED = (
    "--condition",
    "none",
    "--condition",
    "slow=delay:time=100ms",
    "--repeat",
    "1",
    "--",
    sys.executable,
    "-c",
    TALK,
)


def test_any_command() -> None:
    content, printed = compare(*SLOWED)
    check_talk(content)
    how = "strace" if obstacle() else "the kernel's tracer"
    assert f"times from {how}" in printed


def test_any_command_of_an_ordinary_user(ordinary: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    done = ordinary(*SHAPER, "compare", "--json", *SLOWED)
    assert done.returncode == 0, done.stderr
    content = json.loads(done.stdout)
    check_talk(content)
    assert content["times_from"].startswith("strace, which slows the command down (tracing needs root")


FAILS = """
from shaper import Policy

class Fails(Policy):
    def on_packet(self, packet, now):
        raise ValueError("no")
"""


def check_talk(content: dict[str, Any]) -> None:
    (connect,) = (row for row in content["rows"] if row["syscall"] == "connect")
    assert connect["cells"]["none"]["median_ms"] < 50
    assert 190 < connect["cells"]["slow"]["median_ms"] < 400


def test_a_command_that_never_ends_is_ended() -> None:
    command = ["--condition", "slow=delay:20ms", "--repeat", "1", "--timeout", "1s", "--", "sleep", "1000"]
    content, _ = compare(*command)
    assert content["rows"] == []


def test_doubtful_trials_are_counted() -> None:
    _, printed = compare("--condition", "none", "--condition", "slow=delay:1ms", "--repeat", "1", "--", "false")
    assert "2 of 2 trials: failed" in printed


def test_a_policy_that_fails_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "fails.py").write_text(FAILS)
    given = ["--condition", f"x={tmp_path}/fails.py", "--repeat", "1"]
    done = subprocess.run([*SHAPER, "compare", *given], capture_output=True, text=True)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "fails failed at " in done.stderr


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("--condition", "a=none", "--condition", "a=none"), "two conditions have the same name: a, a"),
        (("--condition", "a=dellay"), "there is no policy 'dellay'"),
        (("--condition", 'netem:"nonsense"'), "netem nonsense: "),
        (("--figure", "x.svg", "--", "true"), "a figure shows the calls and packets of a workload"),
    ],
)
def test_mistakes(given: tuple[str, ...], message: str) -> None:
    done = subprocess.run([*SHAPER, "compare", *given], capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith(f"shaper: {message}")
    assert done.stderr.count("\n") == 1


def test_no_such_program() -> None:
    done = subprocess.run([*SHAPER, "compare", "--", "no-such-program"], capture_output=True, text=True)
    assert (done.stderr, done.returncode) == ("shaper: there is no program 'no-such-program' to run\n", 127)
