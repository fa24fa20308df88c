"""A policy that never returns: its packets go on, and shaper ends with its name and line."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.usefixtures("network")

ENDLESS = """
from shaper import Policy, Send, ms

class Endless(Policy):
    def start(self):
        self._seen = 0

    def on_packet(self, packet, now):
        self._seen += 1
        while self._seen == 5:
            pass
        return Send(packet, at=now + 200 * ms)
"""

# Ten datagrams to itself, all of which must come.
TALK = """
import socket
here = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
here.bind(("127.0.0.1", 0))
here.settimeout(30)
for number in range(10):
    here.sendto(bytes([number]), here.getsockname())
print(*(here.recv(9)[0] for _ in range(10)))
"""


@pytest.fixture
def policy(tmp_path: Path) -> str:
    file = tmp_path / "endless.py"
    file.write_text(ENDLESS)
    return str(file)


def test_an_endless_loop_is_ended_and_named(policy: str) -> None:
    run = ["run", "--policy", policy, "--watchdog", "300ms", "--protocol", "udp", "--", sys.executable, "-c", TALK]
    done = subprocess.run([sys.executable, "-m", "shaper", *run], capture_output=True, text=True, timeout=60)
    assert done.stdout == "0 1 2 3 4 5 6 7 8 9\n", done.stderr
    assert done.returncode == 1
    first, second, third = done.stderr.splitlines()
    assert "no sign of life for 300ms" in first
    # It may have been at either of the loop's two lines.
    assert re.search(rf"{re.escape(policy)}:1[01]: it took longer than --watchdog 300ms", second)
    assert "its guardian let all held packets go on" in third
