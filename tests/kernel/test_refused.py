"""`shaper start` where it can not or need not shape."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.kernel.shaping import START, Shaper, nothing_is_left

pytestmark = pytest.mark.usefixtures("network")


def refused(*arguments: str) -> tuple[int, str]:
    done = subprocess.run([*START, *arguments], capture_output=True, text=True)
    assert done.stderr.count("\n") == 1, done.stderr
    return done.returncode, done.stderr


def test_a_queue_number_in_use(tmp_path: Path, network: None, rule_set: Callable[[], list[str]]) -> None:
    with Shaper(tmp_path, "--policy", "delay", "--queue", "7") as shaper:
        before = rule_set()
        status, error = refused("--policy", "delay", "--queue", "7")
        assert (status, rule_set()) == (1, before)
        shaper.stop()
    assert "queue 7 is in use" in error


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("--policy", "dealy"), 2, "did you mean 'delay'?"),
        (("--policy", "delay:tim=1ms"), 2, "did you mean 'time'?"),
        (("--policy", "delay:time=20"), 2, "needs a unit of time"),
        (("--policy", "delay:time=11s"), 2, "--max-hold"),
        (("--policy", "missing.py"), 2, "there is no file missing.py"),
        (("--policy", "delay", "--interface", "eth7"), 2, "there is no interface 'eth7'"),
        (("--policy", "delay", "--no-rules"), 2, "--queue"),
        (("--policy", "delay", "--filter", "tcp prt 80"), 2, "tcp prt 80"),
        (("--policy", "delay", "--netns", "no-such"), 2, "no network namespace 'no-such'"),
    ],
)
def test_what_can_not_be_done_is_said_in_one_line(
    arguments: tuple[str, ...], status: int, message: str, rule_set: Callable[[], list[str]]
) -> None:
    got, error = refused(*arguments)
    assert got == status
    assert message in error
    assert nothing_is_left(rule_set)


def test_all_traffic_of_a_real_interface_needs_a_yes(
    shell: Callable[[str], str], rule_set: Callable[[], list[str]]
) -> None:
    shell("ip link add veth0 type veth peer name veth1")
    status, error = refused("--policy", "delay", "--interface", "veth0")
    assert status == 2
    assert "--yes" in error
    assert nothing_is_left(rule_set)


def test_without_privileges(ordinary: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    done = ordinary(*START, "--policy", "delay")
    assert done.returncode == 1
    assert done.stderr == "shaper: no permission to bind a queue; run as root, or use `shaper run`\n"


@pytest.mark.parametrize(
    ("lacking", "message"),
    [
        (
            ["net_admin"],
            "no permission to bind a queue; root lacks CAP_NET_ADMIN here: start the container with "
            "`--cap-add NET_ADMIN` (docker, podman)",
        ),
        (
            ["net_raw"],
            "no permission to send the packets that policies make; root lacks CAP_NET_RAW here: start the container "
            "with `--cap-add NET_RAW` (docker, podman)",
        ),
        (
            ["net_admin", "net_raw"],
            "no permission to bind a queue; root lacks CAP_NET_ADMIN and CAP_NET_RAW here: start the container with "
            "`--cap-add NET_ADMIN --cap-add NET_RAW` (docker, podman)",
        ),
    ],
)
def test_root_without_a_capability_reads_how_to_get_it(lacking: list[str], message: str) -> None:
    less = ",".join(f"-{name}" for name in lacking)
    command = ["setpriv", f"--bounding-set={less}", f"--inh-caps={less}", *START, "--policy", "delay"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stderr == f"shaper: {message}, or use `shaper run`\n"


def test_dry_run_does_nothing(rule_set: Callable[[], list[str]]) -> None:
    command = [*START, "--policy", "delay", "--dry-run", "--queue", "7"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "queue 7: 65535 packets at most, 16777216 bytes of socket buffer" in done.stdout
    assert "-j NFQUEUE --queue-num 7 --queue-bypass" in done.stdout
    assert nothing_is_left(rule_set)


def test_json_is_the_last_thing_on_standard_output(network: None) -> None:
    command = [*START, "--policy", "delay", "--duration", "1ms", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["taken"] == 0
    assert done.stderr.startswith("shaping input packets of lo, queue 100: delay\n")
