"""What a command says where the kernel refuses something, as in a container that lacks a capability or a mount."""

import errno
import os
from pathlib import Path

import pytest

from shaper.cli import message_of
from shaper.errors import ShaperError
from shaper.linux import capabilities, namespace, proc
from shaper.linux.capabilities import CAP_NET_ADMIN, CAP_NET_RAW, CAP_SYS_ADMIN, remedy
from shaper.trace.record import tracefs

NOTHING, DOCKER, ALL = 0, 0xA804_25FB, 0x1FF_FFFF_FFFF
ROOT, MAPPED, ROOTLESS = "0 0 4294967295", "0 0 1", "0 1000 1"
EACH = "--cap-add SYS_ADMIN --cap-add NET_ADMIN --cap-add NET_RAW"
MOUNT = "`-v /sys/kernel/tracing:/sys/kernel/tracing`"


class Process:
    """What this process seems to be."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch

    def __call__(self, held: int, uid_map: str = ROOT, *, user: int = 0, filtered: bool = False) -> None:
        fields = {"CapEff": f"{held:x}", "Seccomp": "2" if filtered else "0"}
        files = {"/proc/self/uid_map": uid_map}
        real = Path.read_text
        self._monkeypatch.setattr(proc, "status", fields.__getitem__)
        self._monkeypatch.setattr(os, "geteuid", lambda: user)
        self._monkeypatch.setattr(Path, "read_text", lambda path: files.get(str(path)) or real(path))


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch) -> Process:
    return Process(monkeypatch)


def test_an_ordinary_user_needs_root(process: Process) -> None:
    process(NOTHING, user=1000)
    assert remedy(CAP_NET_ADMIN) == "run as root"


def test_each_capability_that_is_missing_is_named(process: Process) -> None:
    process(DOCKER)
    lacks = "root lacks CAP_NET_ADMIN here: start the container with `--cap-add NET_ADMIN` (docker, podman)"
    assert remedy(CAP_NET_ADMIN, CAP_NET_RAW) == lacks
    process(1 << CAP_NET_ADMIN, user=1000)
    assert remedy(CAP_NET_ADMIN, CAP_SYS_ADMIN).startswith("this user lacks CAP_SYS_ADMIN here: ")


def test_what_is_refused_in_spite_of_the_capability(process: Process) -> None:
    process(ALL, filtered=True)
    assert remedy(CAP_SYS_ADMIN) == "start the container with `--security-opt seccomp=unconfined` (docker, podman)"
    process(ALL, ROOTLESS, filtered=True)
    assert remedy(CAP_SYS_ADMIN) == "run as root outside this user namespace"


@pytest.mark.parametrize(
    ("held", "filtered", "options"),
    [
        (DOCKER, True, "`--cap-add SYS_ADMIN` (docker, podman), or with `--security-opt seccomp=unconfined`"),
        (DOCKER, False, "`--cap-add SYS_ADMIN` (docker, podman)"),
        (1 << CAP_SYS_ADMIN, True, "`--cap-add NET_ADMIN --cap-add NET_RAW` (docker, podman)"),
        (ALL, True, "`--security-opt seccomp=unconfined` (docker, podman)"),
    ],
)
def test_where_no_namespace_can_be_made(
    held: int, filtered: bool, options: str, process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(kinds: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(namespace, "unshare", refuse)
    monkeypatch.setattr(namespace, "SWITCHES", ())
    monkeypatch.setattr(proc, "threads", lambda: [1])
    process(held, filtered=filtered)
    with pytest.raises(ShaperError) as caught:
        namespace.enter()
    assert str(caught.value).endswith(f"start the container with {options}")


@pytest.mark.parametrize(
    ("held", "uid_map", "user", "said"),
    [
        (DOCKER, ROOT, 0, f"why; start the container with {MOUNT} or `--cap-add SYS_ADMIN` (docker, podman)"),
        # It has made itself a user namespace since, for lack of a capability.
        (ALL, MAPPED, 0, f"why; start the container with {MOUNT} or `{EACH}` (docker, podman)"),
        (ALL, ROOTLESS, 0, "tracing needs root: why"),
        (NOTHING, ROOT, 1000, "tracing needs root: why"),
    ],
)  # fmt: skip
def test_where_tracefs_is_refused(held: int, uid_map: str, user: int, said: str, process: Process) -> None:
    process(held, uid_map, user=user)
    assert str(tracefs._refused("why")) == said


def test_no_directory_for_temporary_files() -> None:
    error = FileNotFoundError(2, "No usable temporary directory found in ['/tmp', '/']")
    assert message_of(error).endswith("start the container with `--tmpfs /tmp`")


def test_what_is_only_permitted_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a program has it whose file capabilities lack the effective bit."""
    taken: list[object] = []
    monkeypatch.setattr(capabilities, "capset", taken.append)
    monkeypatch.setattr(capabilities, "prctl", lambda *arguments: taken.append(arguments[2]))
    for effective in (0, 1 << CAP_NET_ADMIN):
        fields = {"CapPrm": f"{1 << CAP_NET_ADMIN:x}", "CapEff": f"{effective:x}"}
        monkeypatch.setattr(proc, "status", fields.__getitem__)
        capabilities.take()
    assert taken == [1 << CAP_NET_ADMIN, CAP_NET_ADMIN]


def test_settings_of_the_kernel_that_can_not_be_written() -> None:
    error = OSError(errno.EROFS, "Read-only file system", "/proc/sys/net/ipv4/ip_forward")
    assert message_of(error) == (
        "/proc/sys/net/ipv4/ip_forward: Read-only file system; start the container with "
        "`--security-opt unmask=/proc/sys` (podman) or `--security-opt systempaths=unconfined` (docker)"
    )
