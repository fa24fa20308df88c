"""Private namespaces: made without root, and the command in them is the caller's."""

import subprocess
import sys
from collections.abc import Callable

import pytest

pytestmark = pytest.mark.usefixtures("network")

Run = Callable[..., subprocess.CompletedProcess[str]]

INSIDE = """
import sys, trio
from shaper.linux import namespace
command = namespace.enter(int(sys.argv[1])).spawn_inside(sys.argv[2:])
command.release()
sys.exit(trio.run(command.wait))
"""


def as_root(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True)


@pytest.fixture(params=["root", "ordinary user"])
def caller(request: pytest.FixtureRequest) -> Run:
    run: Run = as_root if request.param == "root" else request.getfixturevalue("ordinary")
    return run


def inside(caller: Run, line: str, mtu: int = 1500) -> subprocess.CompletedProcess[str]:
    return caller(sys.executable, "-c", INSIDE, str(mtu), "sh", "-c", line)


def test_the_command_is_the_callers(ordinary: Run) -> None:
    assert inside(ordinary, "id -u; id -g; grep CapEff /proc/self/status").stdout.split() == [
        "4711", "4712", "CapEff:", "0000000000000000",
    ]  # fmt: skip
    assert inside(as_root, "id -u").stdout == "0\n"


def test_the_command_can_not_touch_the_rules(ordinary: Run) -> None:
    assert inside(ordinary, "/usr/sbin/iptables -t mangle -S").returncode != 0


def test_lo_is_up_and_alone(caller: Run) -> None:
    links, addresses = inside(caller, "ip -o link; echo; ip -o address", mtu=1400).stdout.split("\n\n")
    assert links.count("\n") == 0
    assert "lo: <LOOPBACK,UP,LOWER_UP> mtu 1400" in links
    assert "127.0.0.1/8" in addresses
    assert "::1/128" in addresses


@pytest.mark.parametrize(("line", "status"), [("exit 3", 3), ("kill -9 $$", 137), ("kill -PIPE $$", 141), ("true", 0)])
def test_exit_status(line: str, status: int) -> None:
    assert inside(as_root, line).returncode == status


def test_the_command_waits_until_it_is_released() -> None:
    program = """
import os, select, trio
from shaper.linux import namespace
command = namespace.enter().spawn_inside(["echo", "started"])
end = select.poll()
end.register(os.pidfd_open(command.pid), select.POLLIN)
assert not end.poll(300), "it has run already"
os.write(1, b"released, ")
command.release()
trio.run(command.wait)
"""
    done = as_root(sys.executable, "-c", program)
    assert (done.stdout, done.stderr) == ("released, started\n", "")


def test_a_command_that_was_never_released_ends_with_its_parent() -> None:
    program = "from shaper.linux import namespace; namespace.enter().spawn_inside(['echo', 'started'])"
    assert as_root(sys.executable, "-c", program).stdout == ""


def test_no_such_program() -> None:
    assert "ProgramError: there is no program 'no-such-program' to run" in as_root(
        sys.executable, "-c", INSIDE, "1500", "no-such-program"
    ).stderr  # fmt: skip


@pytest.mark.parametrize("mtu", [10, 70000])
def test_an_mtu_that_carries_no_ip(mtu: int) -> None:
    assert f"UsageError: an MTU of {mtu} bytes" in inside(as_root, "true", mtu=mtu).stderr


def test_user_namespaces_switched_off(ordinary: Run) -> None:
    # A user namespace has a limit of its own; without CAP_SYS_ADMIN one more is needed.
    off = 'echo 0 > /proc/sys/user/max_user_namespaces; exec setpriv --bounding-set=-sys_admin "$@"'
    done = ordinary("unshare", "-Ur", "sh", "-c", off, "sh", sys.executable, "-c", INSIDE, "1500", "true")
    assert done.stderr.splitlines()[-1] == (
        "shaper.errors.ShaperError: user namespaces are switched off here; "
        "switch them on with `sudo sysctl user.max_user_namespaces=10000`, or run as root"
    )


def test_several_threads() -> None:
    program = """
import threading
from shaper.linux import namespace
done = threading.Event()
threading.Thread(target=done.wait).start()
try:
    namespace.enter()
finally:
    done.set()
"""
    assert "several threads" in as_root(sys.executable, "-c", program).stderr


def test_root_without_net_admin_gets_a_user_namespace(network: None) -> None:
    """As in a container with `--cap-add SYS_ADMIN` alone."""
    less = ["setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin"]
    done = inside(lambda *command: as_root(*less, *command), "cat /sys/class/net/lo/flags")
    assert (done.stdout, done.stderr) == ("0x9\n", "")
