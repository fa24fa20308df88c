"""Real pings: requests and answers are the two directions, on one address too."""

import re
from collections.abc import Callable
from pathlib import Path
from statistics import median

import pytest

from shaper.linux import programs
from tests.kernel.shaping import Shaper

pytestmark = [
    pytest.mark.usefixtures("network"),
    pytest.mark.skipif(programs.find("ping") is None, reason="needs ping: apt install iputils-ping"),
]
Shell = Callable[[str], str]


def times(shell: Shell, address: str, size: int = 56) -> list[float]:
    """Round trips in ms, as a program sees them: -U, since the kernel stamps a packet before it is queued."""
    text = shell(f"ping -U -n -c 5 -i 0.2 -s {size} {address}")
    found = [float(ms) for ms in re.findall(r"time=([\d.]+)", text)]
    assert len(found) == 5
    return found


@pytest.mark.parametrize(("direction", "wanted"), [("original", 100), ("reply", 100), ("both", 200)])
@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_a_direction_is_delayed_alone(tmp_path: Path, shell: Shell, address: str, direction: str, wanted: int) -> None:
    with Shaper(tmp_path, "--policy", f"delay:100ms,direction={direction}"):
        assert wanted - 1 <= median(times(shell, address)) <= wanted + 90


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_fragments_of_a_ping_have_its_direction(tmp_path: Path, shell: Shell, address: str) -> None:
    shell("ip link set lo mtu 1500")
    with Shaper(tmp_path, "--policy", "delay:100ms,direction=reply"):
        assert 99 <= median(times(shell, address, 4000)) <= 190
