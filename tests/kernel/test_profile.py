"""`--profile` with live traffic."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from shaper import ms
from shaper.journal import read_journal
from tests.kernel.shaping import Shaper

pytestmark = pytest.mark.usefixtures("network")

SHAPER = (sys.executable, "-m", "shaper")
ECHO = """
import socket, sys, time
server, client = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
server.bind(("127.0.0.1", 0))
for _ in range(5):
    begin = time.monotonic()
    client.sendto(bytes(1000), server.getsockname())
    data, address = server.recvfrom(2000)
    server.sendto(data, address)
    client.recv(2000)
    print(time.monotonic() - begin)
"""


@pytest.mark.alone
def test_the_rtt_is_the_profile_s() -> None:
    command = [*SHAPER, "run", "--profile", "cable", "--", sys.executable, "-c", ECHO]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    times = [float(line) for line in done.stdout.splitlines()]
    # 1028 bytes at 1 Mbit/s and back at 5 Mbit/s, and 28 ms.
    wanted = 1028 * 8 / 1e6 + 1028 * 8 / 5e6 + 0.028
    assert min(times) >= wanted
    assert sorted(times)[2] < wanted + 0.05


def test_the_match_is_the_profile_s_unless_given(tmp_path: Path) -> None:
    file = tmp_path / "web.toml"
    file.write_text('pipeline = ["delay:5ms"]\n[match]\nprotocol = "tcp"\nport = [80, 443]\nhook = "output"\n')
    command = [*SHAPER, "start", "--profile", str(file), "--dry-run"]
    plan = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "--dport 80 " in plan
    assert "--dport 443 " in plan
    assert "OUTPUT" in plan
    assert "-p udp" not in plan
    plan = subprocess.run([*command, "--port", "8765"], capture_output=True, text=True, check=True).stdout
    assert "--dport 8765 " in plan
    assert "--dport 80 " not in plan


def test_the_journal_has_its_policies_and_seed(tmp_path: Path) -> None:
    file, journal = tmp_path / "web.toml", tmp_path / "journal"
    file.write_text('pipeline = ["delay:5ms"]\nseed = "web"\n')
    command = [*SHAPER, "run", "--profile", str(file), "--policy", "loss:0%", "--journal", str(journal), "--", "true"]
    subprocess.run(command, check=True)
    header, _ = read_journal(journal)
    assert (list(header.policies), header.seed) == (["delay:5ms", "loss:0%"], "web")


STEADY = """
import socket, time
server, client = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
server.bind(("127.0.0.1", 0))
for number in range(60):
    client.sendto(b"%d" % number, server.getsockname())
    time.sleep(0.01)
print([int(server.recv(100)) for _ in range(60)])
"""


@pytest.mark.parametrize("command", ["run", "start"])
def test_phases_follow_each_other_and_packets_keep_their_order(command: str, tmp_path: Path) -> None:
    file, journal = tmp_path / "phases.toml", tmp_path / "journal"
    file.write_text(
        'repeat = true\n[[phase]]\nfor = "150ms"\npolicies = ["delay:100ms"]\n'
        '[[phase]]\nfor = "150ms"\npolicies = ["delay:1ms"]\n'
    )
    options = ["--profile", str(file), "--journal", str(journal)]
    program = [sys.executable, "-c", STEADY]
    if command == "run":
        done = subprocess.run([*SHAPER, "run", *options, "--", *program], capture_output=True, text=True, check=True)
    else:
        with Shaper(tmp_path, *options, "--protocol", "udp") as shaper:
            done = subprocess.run(program, capture_output=True, text=True, check=True)
            summary = shaper.stop()
        assert (summary["taken"], summary["sent"], summary["bypassed"]) == (60, 60, 0)
    assert done.stdout == f"{[*range(60)]}\n"
    changes = [line for line in map(json.loads, journal.read_text().splitlines()) if line.get("change") == "replace"]
    records = sorted(read_journal(journal)[1])
    begin = records[0].arrived
    assert len(changes) >= 3
    for nth, change in enumerate(changes, 1):
        assert change["policies"] == (["delay:1ms"] if nth % 2 else ["delay:100ms"])
        assert 0 <= change["at_ns"] - begin - nth * 150 * ms < 20 * ms
    for record in records:
        phase = sum(change["taken"] < record.id for change in changes)
        assert record.planned - record.arrived >= (1 if phase % 2 else 100) * ms
    # A packet of the second phase waits for those of the first: the first of them, about 100 ms.
    first = records[changes[0]["taken"]]
    assert [hold.policy for hold in first.held] == ["delay", "change"]
