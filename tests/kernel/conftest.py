"""Real queues and rules, each test in a network namespace of its own.

Every fixture that changes or starts anything asks for `network` itself, so that none can run outside.
"""

import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from shaper.linux import programs
from shaper.linux.libc import CLONE_NEWNET, setns, unshare
from tests.kernel.shaping import Receiver

Shell = Callable[[str], str]
BACKENDS = ("nft", "legacy")


@pytest.fixture
def network(namespaces: None) -> Iterator[None]:
    """This test's thread and the processes it starts are in a network namespace of their own, with lo up."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    unshare(CLONE_NEWNET)
    try:
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        yield
    finally:
        setns(home, CLONE_NEWNET)
        os.close(home)


@pytest.fixture
def receiver(network: None) -> Iterator[Receiver]:
    with Receiver() as made:
        yield made


@pytest.fixture
def use_backend(network: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """From then on this backend of iptables is the one that PATH leads to."""
    path = os.environ["PATH"]

    def use(backend: str) -> None:
        folder = tmp_path / "backend" / backend
        folder.mkdir(parents=True, exist_ok=True)
        for command in ("iptables", "ip6tables"):
            for verb in ("", "-save", "-restore"):
                target = programs.find(f"{command}-{backend}{verb}")
                if target is None:
                    pytest.skip(f"there is no {command}-{backend}{verb} here")
                # Both backends are one binary each, which goes by the name it is called with.
                if not (link := folder / f"{command}{verb}").exists():
                    link.symlink_to(os.path.realpath(target))
        monkeypatch.setenv("PATH", f"{folder}:{path}")

    return use


@pytest.fixture(params=BACKENDS)
def backend(use_backend: Callable[[str], None], request: pytest.FixtureRequest) -> str:
    """Both backends of iptables, one after the other."""
    use_backend(request.param)
    return str(request.param)


@pytest.fixture
def shell(network: None) -> Shell:
    """Runs a line of shell in the test's network namespace, which must succeed; returns what it prints."""
    return lambda line: subprocess.run(["sh", "-ec", line], check=True, capture_output=True, text=True).stdout


@pytest.fixture
def rule_set(shell: Shell) -> Callable[[], list[str]]:
    """All chains and rules of both families now, without counters."""

    def lines() -> list[str]:
        saved = shell("iptables-save; ip6tables-save").splitlines()
        return [line.split(" [")[0] for line in saved if not line.startswith("#")]

    return lines


@pytest.fixture
def ordinary(network: None) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a command as an ordinary user and group, 4711 and 4712, without any privilege."""
    user = ["setpriv", "--reuid=4711", "--regid=4712", "--clear-groups", "--no-new-privs"]
    # In a mount namespace, directories that only root may search are replaced by ones with just what is needed.
    steps = ["set -e"]
    for number, needed in enumerate({sys.base_prefix, sys.prefix, os.getcwd()}):
        closed = next((parent for parent in [*reversed(Path(needed).parents)] if not parent.stat().st_mode & 1), None)
        if closed is not None:
            aside, inside, barred = f"/run/aside{number}", shlex.quote(needed), shlex.quote(str(closed))
            steps += [f"mkdir {aside}", f"mount --bind {inside} {aside}", f"mount -t tmpfs -o mode=755 none {barred}"]
            steps += [f"mkdir -p {inside}", f"mount --bind {aside} {inside}"]
    script = "\n".join([steps[0], "mount -t tmpfs -o mode=755 none /run", *steps[1:], 'exec "$@"'])

    def run(*command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["unshare", "-m", "sh", "-c", script, "sh", *user, *command],
            capture_output=True,
            text=True,
            env={"PATH": "/usr/bin:/bin", "HOME": "/", "PYTHONDONTWRITEBYTECODE": "1"},
        )

    return run
