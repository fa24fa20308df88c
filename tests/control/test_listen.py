"""The control sockets: names, places, modes, and who may connect."""

import os
import socket
import stat
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from shaper.control.listen import Listeners, find, is_live, listen_at, locked, open_listeners, read_token, running
from shaper.errors import ShaperError, UsageError


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


def open_one(opened: ExitStack, name: str, *, varies: bool = False) -> Listeners:
    return opened.enter_context(closing(open_listeners(name, varies=varies)))


def test_only_its_user_can_connect(opened: ExitStack, runtime: Path) -> None:
    listeners = open_one(opened, "web")
    assert listeners.path == runtime / "web.sock"
    assert stat.S_IMODE(listeners.path.stat().st_mode) == 0o600
    assert listeners.path.stat().st_uid == os.geteuid()


def test_what_root_starts_for_a_user_is_that_users(
    opened: ExitStack, real_root: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUDO_UID", "4711")
    listeners = open_one(opened, "web")
    assert listeners.path.stat().st_uid == listeners.owner == 4711


def test_a_name_is_taken_once(opened: ExitStack) -> None:
    open_one(opened, "0")
    with pytest.raises(UsageError, match="a shaper named '0' is running; choose another --name"):
        open_listeners("0")
    assert open_one(opened, "0", varies=True).name == "0-2"
    assert open_one(opened, "0", varies=True).name == "0-3"
    assert running() == ["0", "0-2", "0-3"]


def test_the_socket_of_a_dead_shaper_is_no_obstacle(opened: ExitStack, runtime: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        runtime.mkdir(mode=0o700)
        dead.bind(str(runtime / "0.sock"))
    assert running() == []
    assert not (runtime / "0.sock").exists()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(runtime / "0.sock"))
    open_one(opened, "0")
    assert find("0") == runtime / "0.sock"
    assert find("1") is None


def test_a_shaper_that_is_just_starting_keeps_its_socket(runtime: Path) -> None:
    runtime.mkdir(mode=0o700)
    found: list[Path | None] = []
    looking = threading.Thread(target=lambda: found.append(find("web")))
    with closing(socket.socket(socket.AF_UNIX)) as starting:
        # As in the middle of `open_listeners`: it has its file, and nobody can connect yet.
        with locked(runtime):
            starting.bind(str(runtime / "web.sock"))
            looking.start()
            looking.join(0.05)
            assert looking.is_alive()
            starting.listen()
        looking.join(20)
    assert found == [runtime / "web.sock"]


def test_a_busy_shaper_is_alive(opened: ExitStack) -> None:
    listeners = open_one(opened, "0")
    listeners.unix.listen(0)
    for _ in range(3):
        waiting = opened.enter_context(socket.socket(socket.AF_UNIX))
        waiting.setblocking(False)
        waiting.connect_ex(str(listeners.path))
    assert is_live(listeners.path)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a b", "-x", "a\n", "x" * 65])
def test_some_names_are_none(name: str) -> None:
    with pytest.raises(UsageError, match="can't be a shaper's name"):
        open_listeners(name)


def test_a_folder_that_others_can_write_to_is_not_used(runtime: Path) -> None:
    runtime.mkdir()
    runtime.chmod(0o777)
    if os.geteuid() != 0:
        with pytest.raises(ShaperError, match="others could put sockets into"):
            open_listeners("0")
    with socket.socket(socket.AF_UNIX) as planted:
        planted.bind(str(runtime / "planted.sock"))
        planted.listen()
        assert running() == []


@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"])
def test_other_machines_need_a_token(address: str) -> None:
    with pytest.raises(UsageError, match=r"other machines could reach .* add --token-file FILE"):
        listen_at(address, is_open=False)


@pytest.mark.parametrize("address", ["8475", ":8475", "localhost:", "localhost:http", "127.0.0.1:65536", "[::1]"])
def test_a_host_and_a_port_are_needed(address: str) -> None:
    with pytest.raises(UsageError, match=r"--listen needs HOST:PORT"):
        listen_at(address, is_open=False)


def test_an_address_in_use_is_named() -> None:
    with closing(listen_at("127.0.0.1:0", is_open=False)[0]) as first:
        port = first.getsockname()[1]
        with pytest.raises(UsageError, match=f"shaper can't listen at 127.0.0.1:{port}: it is in use"):
            listen_at(f"127.0.0.1:{port}", is_open=False)


def test_a_token_is_a_secret(tmp_path: Path) -> None:
    file = tmp_path / "token"
    with pytest.raises(UsageError, match="the token can't be read"):
        read_token(file)
    file.write_text("0123456789abcdef\n")
    file.chmod(0o644)
    with pytest.raises(UsageError, match=f"everybody can read {file}; run `chmod o-r {file}`"):
        read_token(file)
    file.chmod(0o600)
    assert read_token(file) == "0123456789abcdef"
    for bad in ("short", "two words of sixteen", "0123456789abcde\x7f"):
        file.write_text(bad)
        with pytest.raises(UsageError, match="at least 16 characters"):
            read_token(file)
    file.write_bytes(b"\xff" * 20)
    with pytest.raises(UsageError, match="the token can't be read"):
        read_token(file)


def test_a_token_is_for_tcp(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--token-file is for TCP"):
        open_listeners("0", token_file=tmp_path / "token")
