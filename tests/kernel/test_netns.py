"""Other network namespaces, by name, process and path."""

import os
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from shaper.errors import ShaperError, UsageError
from shaper.linux import netns
from shaper.linux.netns import join

pytestmark = pytest.mark.usefixtures("network")


def here() -> str:
    return os.readlink("/proc/thread-self/ns/net")


@pytest.fixture
def named(network: None) -> Iterator[str]:
    name = f"test-{uuid.uuid4().hex[:8]}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    yield name
    subprocess.run(["ip", "netns", "delete", name], check=True)


@pytest.mark.parametrize("folder", ["", "/run/netns/"])
def test_by_name_and_by_path(named: str, folder: str) -> None:
    inode = Path("/run/netns", named).stat().st_ino
    assert here() != f"net:[{inode}]"
    join(folder + named)
    assert here() == f"net:[{inode}]"


def test_by_process() -> None:
    with subprocess.Popen(["unshare", "-n", "sh", "-c", "echo; cat"], stdin=-1, stdout=-1) as other:
        assert other.stdout is not None
        assert other.stdin is not None
        other.stdout.readline()
        join(str(other.pid))
        assert here() == os.readlink(f"/proc/{other.pid}/ns/net")
        other.stdin.close()


@pytest.mark.parametrize("name", ["no-such-namespace", "99999999", "/no/such/file"])
def test_there_is_none(name: str) -> None:
    with pytest.raises(UsageError, match=f"^there is no network namespace '{name}': give a name"):
        join(name)


@pytest.mark.parametrize("name", ["/etc/hostname", "/proc/self/ns/pid", "/tmp"])
def test_something_else(name: str) -> None:
    with pytest.raises(UsageError, match=f"^'{name}' is not a network namespace"):
        join(name)


def test_no_permission(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(descriptor: int, kind: int) -> None:
        raise PermissionError

    monkeypatch.setattr(netns, "setns", refuse)
    with pytest.raises(ShaperError, match="no permission to enter the network namespace '1'; run as root"):
        join("1")
