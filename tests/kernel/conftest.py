"""Real queues and rules, each test in a network namespace of its own.

Every fixture that changes or starts anything asks for `network` itself, so that none can run outside.
"""

import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
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
    # The network namespace is the test's own, so iptables-legacy must not fail for the lock that all tests share.
    command = ["env", "XTABLES_LOCKFILE=/proc/self/ns/net", "sh", "-ec"]
    return lambda line: subprocess.run([*command, line], check=True, capture_output=True, text=True).stdout


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
    if has_user(4711):
        user = ["setpriv", "--reuid=4711", "--regid=4712", "--clear-groups", "--no-new-privs"]
    else:  # in the user namespace of a user who is no one else
        user = ["unshare", "--user", "--map-user=4711", "--map-group=4712", "setpriv", "--no-new-privs"]
    opened = opening()

    def run(*command: str, before: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
        """Run it, after these lines of shell in its own mount namespace, with an empty /run."""
        script = "\n".join(["set -e", "mount -t tmpfs -o mode=755 none /run", *before, *opened, 'exec "$@"'])
        return subprocess.run(
            ["unshare", "-m", "sh", "-c", script, "sh", *user, *command],
            capture_output=True,
            text=True,
            env={"PATH": "/usr/bin:/bin", "HOME": "/", "PYTHONDONTWRITEBYTECODE": "1"},
        )

    return run


def has_user(number: int) -> bool:
    """Whether this user namespace has this user; see user_namespaces(7)."""
    ranges = [list(map(int, line.split())) for line in Path("/proc/self/uid_map").read_text().splitlines()]
    return any(first <= number < first + count for first, _, count in ranges)


def is_open(folder: Path) -> bool:
    return bool(folder.stat().st_mode & 1)


def opening() -> list[str]:
    """Steps in a mount namespace after which everyone can read Python, its packages and the checkout.

    A folder that only its owner may enter is covered by one with just what is needed.
    """
    shown: list[Path] = []
    covered: set[str] = set()
    for needed in sorted({Path(sys.base_prefix), Path(sys.prefix), Path.cwd()}):
        closed = [folder for folder in (*reversed(needed.parents), needed) if not is_open(folder)]
        if closed:
            covered.add(shlex.quote(str(closed[0])))
            shown += [needed] if is_open(needed) else needed.iterdir()
    aside, back = [], []
    for number, path in enumerate(shown):
        kept, there, make = f"/run/{number}", shlex.quote(str(path)), "mkdir -p" if path.is_dir() else "touch"
        aside.append(f"{make} {kept}; mount --bind {there} {kept}")
        back.append(f"mkdir -p {shlex.quote(str(path.parent))}; {make} {there}; mount --bind {kept} {there}")
    return [*aside, *(f"mount -t tmpfs -o mode=755 none {folder}" for folder in sorted(covered)), *back]
