"""What a running engine may still do."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from shaper.cli import main
from tests.kernel.shaping import Receiver, Shaper, children, field

pytestmark = pytest.mark.usefixtures("network")

INJECTS = """
from shaper import Policy, Send

class Twice(Policy):
    def on_packet(self, packet, now):
        return [Send(packet), Send(packet.copy())]
"""

# Tries, from inside a policy, what no policy should be able to do.
TRIES = """
import os
import socket
import subprocess
from shaper import Drop, Policy

def attempt(what):
    try:
        what()
    except OSError as error:
        return error.strerror
    return "done"

class Tries(Policy):
    def on_packet(self, packet, now):
        found = [
            attempt(lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)),
            attempt(lambda: os.chroot("/")),
            attempt(lambda: os.kill(os.getppid(), 0)),
            attempt(lambda: os.setresuid(0, 0, 0)),
        ]
        caps = [line for line in open("/proc/self/status") if line.startswith(("CapEff", "NoNewPrivs"))]
        child = subprocess.run(["grep", "-h", "CapEff", "/proc/self/status"], capture_output=True, text=True).stdout
        raise ValueError(f"{found} {caps} {child}")
"""


def test_the_engine_keeps_one_capability(tmp_path: Path, rule_set: Callable[[], list[str]], backend: str) -> None:
    (tmp_path / "twice.py").write_text(INJECTS)
    with (
        Receiver() as receiver,
        Shaper(tmp_path, "--policy", str(tmp_path / "twice.py"), "--protocol", "udp") as shaper,
    ):
        pid = shaper.engine
        receiver.send_numbers(20)
        assert sorted(receiver.numbers(40)) == sorted([*range(20)] * 2)
        shown = subprocess.run(["getpcaps", str(pid)], capture_output=True, text=True, check=True)
        kinds = [field(pid, name) for name in ("CapPrm", "CapEff", "CapBnd", "CapInh", "CapAmb")]
        no_new_privileges = field(pid, "NoNewPrivs")
        summary = shaper.stop()
    assert (shown.stdout + shown.stderr).strip() == f"{pid}: cap_net_admin=eip"
    assert kinds == [f"{1 << 12:016x}"] * 5
    assert no_new_privileges == "1"
    assert (summary["taken"], summary["injected"], summary["bypassed"], shaper.status) == (20, 20, 0, 0)
    assert not [line for line in rule_set() if "shaper" in line]


def becomes(user: int, folder: str | Path, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether a confined process whose files are all in this folder is this user and group."""
    from shaper.linux import capabilities

    monkeypatch.setattr(sys, "base_prefix", str(folder))
    monkeypatch.setattr(sys, "prefix", str(folder))
    monkeypatch.setattr(capabilities, "__file__", f"{folder}/x/y")
    monkeypatch.delenv("SUDO_UID", raising=False)
    monkeypatch.delenv("SUDO_GID", raising=False)
    child = os.fork()
    if child == 0:
        try:
            capabilities.confine()
            os._exit(0 if os.getresuid() == (user,) * 3 and os.getresgid() == (user,) * 3 else 1)
        finally:
            os._exit(2)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_the_engine_is_an_ordinary_user_where_that_user_can_read_its_files(
    real_root: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert becomes(65534, "/usr", monkeypatch)


def test_the_engine_is_the_owner_of_its_files_where_others_can_not_read_them(
    real_root: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Path("/run") / tmp_path.name  # pytest's own folders are closed to all but root
    home.mkdir(mode=0o700)
    try:
        os.chown(home, 4321, 4321)
        assert becomes(4321, home, monkeypatch)
        os.chown(home, 0, 0)
        assert becomes(0, home, monkeypatch)
    finally:
        home.rmdir()


def test_a_policy_can_not_do_what_root_can(tmp_path: Path) -> None:
    file = tmp_path / "tries.py"
    file.write_text(TRIES)
    with Receiver() as receiver, Shaper(tmp_path, "--policy", str(file), "--protocol", "udp") as shaper:
        receiver.send_numbers(1)
        assert receiver.numbers(1) == [0]
        shaper.process.wait(60)
    assert shaper.errors.count("Operation not permitted") >= 2
    assert shaper.errors.count(f"{1 << 12:016x}") == 2
    assert r"NoNewPrivs:\t1" in shaper.errors


@pytest.mark.parametrize("what", ["file", "directory"])
def test_root_runs_no_policy_that_everybody_can_write(
    what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "twice.py"
    file.write_text(INJECTS)
    changeable = file if what == "file" else tmp_path
    changeable.chmod(0o777)
    assert main(["start", "--policy", str(file)]) == 2
    advice = f"chmod o-w {changeable}"
    assert capsys.readouterr().err == (
        f"shaper: everybody can write to {changeable}, so root runs no policy from there; "
        f"run `{advice}`, or copy the file to a directory that only its owner can write to\n"
    )
    subprocess.run(advice.split(), check=True)
    assert main(["policies", str(file)]) == 0


def test_nothing_is_imported_from_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("json", "socket", "shaper"):
        (tmp_path / f"{name}.py").write_text("open('imported', 'w')\n")
    monkeypatch.chdir(tmp_path)
    shaper = Path(sys.executable).with_name("shaper")
    done = subprocess.run([shaper, "start", "--policy", "delay:20ms", "--duration", "100ms"], capture_output=True)
    assert (done.stderr, done.returncode) == (b"", 0)
    assert not (tmp_path / "imported").exists()


def test_an_engine_whose_guardian_died_goes_on_and_leaves_nothing(
    tmp_path: Path, rule_set: Callable[[], list[str]]
) -> None:
    with Receiver() as receiver, Shaper(tmp_path, "--policy", "delay:20ms", "--protocol", "udp") as shaper:
        (first,) = children(shaper.engine)
        os.kill(first, 9)
        receiver.send_numbers(10)
        assert receiver.numbers(10) == list(range(10))
        summary = shaper.stop()
    assert (summary["sent"], shaper.status) == (10, 0)
    assert not [line for line in rule_set() if "shaper" in line]


def test_the_same_in_a_namespace_of_an_ordinary_user(ordinary: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    show = "grep CapEff /proc/$PPID/status"
    done = ordinary(sys.executable, "-m", "shaper", "run", "--policy", "delay:1ms", "--", "sh", "-c", show)
    assert done.stdout == f"CapEff:\t{1 << 12:016x}\n", done.stderr
