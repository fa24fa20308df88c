"""Who may read and change a shaper, and what may be loaded over TCP."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from shaper.control import listen
from shaper.control.access import check_specs, is_allowed, is_loopback
from shaper.control.client import Client
from shaper.errors import ShaperError, UsageError
from shaper.linux.sock_diag import SocketDiag
from tests.control.conftest import Running, Start
from tests.control.front import Front
from tests.control.test_api import ask

TOKEN = "0123456789abcdef"
SOMEBODY = 4711


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    file = tmp_path / "token"
    file.write_text(TOKEN)
    file.chmod(0o600)
    return file


@pytest.mark.parametrize("host", ["localhost", "localhost:1", "127.0.0.1", "127.8.9.1:8475", "[::1]", "[::1]:8475"])
def test_a_name_of_this_machine_is_answered(over_tcp: Running, host: str) -> None:
    assert is_loopback(host)
    assert ask(over_tcp.url, "GET", "/v1/status", Host=host)[0] == 200


@pytest.mark.parametrize(
    "host", ["", "evil.example", "evil.example:8475", "192.0.2.1", "localhost.evil.example", "[::2]"]
)
def test_dns_rebinding_is_refused(over_tcp: Running, host: str) -> None:
    status, _, answer = ask(over_tcp.url, "GET", "/v1/status", Host=host)
    assert status == 403
    assert answer["detail"] == f"'{host}' is no name of this machine; use localhost or 127.0.0.1"


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "https://{host}", "http://localhost", "http://127.0.0.1"]
)
def test_other_websites_are_refused(over_tcp: Running, origin: str) -> None:
    host = over_tcp.url.removeprefix("http://")
    for method, path in (("POST", "/v1/pause"), ("GET", "/v1/status"), ("OPTIONS", "/v1/pipeline"), ("GET", "/")):
        status, headers, _ = ask(over_tcp.url, method, path, Origin=origin.format(host=host))
        assert status == 403
        assert not any(name.lower().startswith("access-control-") for name in headers)
    assert over_tcp.client.status()["state"] == "shaping"


def test_its_own_page_may_ask(over_tcp: Running) -> None:
    assert ask(over_tcp.url, "POST", "/v1/pause", Origin=over_tcp.url)[0] == 200


def test_with_a_token_everything_but_the_page_needs_it(start: Start, token_file: Path) -> None:
    running = start(listen="0.0.0.0:0", token_file=token_file)
    url = f"http://127.0.0.1:{running.listeners.tcp[0].getsockname()[1]}"
    for path in ("/v1/status", "/v1/openapi.json", "/metrics", "/v1/events", "/nowhere"):
        for wrong in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {TOKEN}"}):
            status, headers, _ = ask(url, "GET", path, **wrong)
            assert status == 401
            assert headers["www-authenticate"] == "Bearer"
    assert ask(url, "GET", "/")[0] == 200
    # A token is proof enough, whatever this machine is called.
    assert ask(url, "GET", "/v1/status", Authorization=f"Bearer {TOKEN}", Host="shaper.example:80")[0] == 200
    assert Client(url, token=TOKEN).status()["state"] == "shaping"
    with pytest.raises(UsageError, match="show the token"):
        Client(url).status()
    # At the Unix socket the kernel has looked.
    assert running.client.status()["state"] == "shaping"


def test_a_socket_that_nobody_has_any_more_is_not_roots() -> None:
    with closing(SocketDiag()) as diag, socket.create_server(("127.0.0.1", 0)) as server:
        client = socket.create_connection(server.getsockname())
        client.sendall(b"POST /v1/stop HTTP/1.1\r\nHost: localhost\r\n\r\n")
        accepted, peer = server.accept()
        with accepted:
            assert is_allowed(diag, peer, accepted.getsockname(), {os.geteuid()})
            assert not is_allowed(diag, peer, accepted.getsockname(), {os.geteuid() + 1})
            client.close()
            assert not is_allowed(diag, peer, accepted.getsockname(), {0, os.geteuid()})


@pytest.fixture
def open_folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder for control sockets that everybody can enter."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    monkeypatch.setattr(listen, "SYSTEM", folder / "shaper")
    yield folder / "shaper"
    shutil.rmtree(folder)


TRY_ALL = """
import json, socket, sys
path, host, port = sys.argv[1], "127.0.0.1", int(sys.argv[2])
try:
    socket.socket(socket.AF_UNIX).connect(path)
    print("connected")
except PermissionError:
    print("refused by the kernel")
reads = [b"GET /v1/status", b"GET /v1/flows", b"GET /metrics", b"GET /", b"GET /v1/events"]
requests = [*reads, b"POST /v1/pause", b"POST /v1/stop"]
for number in range(200):
    request = requests[number % len(requests)] + b" HTTP/1.1\\r\\nHost: localhost\\r\\n\\r\\n"
    with socket.create_connection((host, port)) as connection:
        connection.sendall(request)
        if number % 2:
            continue  # closed at once: whose was it?
        try:
            print(json.dumps(connection.recv(15).decode()))
        except ConnectionResetError:
            pass
"""


def test_another_user_can_neither_read_nor_change(start: Start, real_root: None, open_folder: Path) -> None:
    running = start(listen="127.0.0.1:0")
    port = running.listeners.tcp[0].getsockname()[1]
    command = ["/usr/bin/python3", "-c", TRY_ALL, str(running.listeners.path), str(port)]
    done = subprocess.run(
        command, user=SOMEBODY, group=SOMEBODY, extra_groups=[], capture_output=True, text=True, cwd="/"
    )
    first, *answers = done.stdout.splitlines()
    assert first == "refused by the kernel", done.stderr
    assert answers
    assert {json.loads(answer) for answer in answers} <= {"HTTP/1.1 403 Fo", ""}
    assert running.client.status()["state"] == "shaping"
    assert running.front.readers == 0
    # Root may; and so may the user who called sudo.
    own = [sys.executable, "-c", TRY_ALL.replace("range(200)", "range(1)"), str(running.listeners.path), str(port)]
    assert '"HTTP/1.1 200 OK"' in subprocess.run(own, capture_output=True, text=True).stdout


def test_the_user_who_called_sudo_may(
    start: Start, real_root: None, open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUDO_UID", str(SOMEBODY))
    running = start(listen="127.0.0.1:0")
    script = TRY_ALL.replace("range(200)", "range(1)")
    command = [
        "/usr/bin/python3",
        "-c",
        script,
        str(running.listeners.path),
        str(running.listeners.tcp[0].getsockname()[1]),
    ]
    done = subprocess.run(
        command, user=SOMEBODY, group=SOMEBODY, extra_groups=[], capture_output=True, text=True, cwd="/"
    )
    assert done.stdout == 'connected\n"HTTP/1.1 200 OK"\n', done.stderr


LOAD = """
import sys
from pathlib import Path
from shaper.control.client import Client
client = Client(Path(sys.argv[1]))
print(client.replace(["delay:3ms"])[0]["options"]["time"])
for act in (lambda: client.replace([sys.argv[2]]), lambda: client.set("delay", {"times": "/etc/passwd"})):
    try:
        act()
    except Exception as error:
        print(error)
"""


def test_the_user_who_called_sudo_gets_no_power_without_it(
    start: Start, real_root: None, open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUDO_UID", str(SOMEBODY))
    path = str(start().listeners.path)
    command = ["/usr/bin/python3", "-c", LOAD, path, "/tmp/mine.py"]
    done = subprocess.run(
        command,
        user=SOMEBODY,
        group=SOMEBODY,
        extra_groups=[],
        capture_output=True,
        text=True,
        cwd="/",
        env={**os.environ, "PYTHONPATH": str(readable_copy(open_folder.parent))},
    )
    assert done.stdout.splitlines() == [
        "3ms",
        "without sudo only built-in policies can be loaded, and those named at the start, not /tmp/mine.py",
        "without sudo no option can name a file: times=/etc/passwd",
    ], done.stderr


def readable_copy(folder: Path) -> Path:
    """A copy of the package in a folder that everybody can enter."""
    shutil.copytree(Path(__file__).parents[2] / "shaper", folder / "copy" / "shaper")
    return folder / "copy"


KNOWN = ["./mine.py:share=10%", "delay:times=/etc/delays"]


@pytest.mark.parametrize(
    "spec", ["delay:20ms", 'netem:"delay 10ms loss 1%"', "./mine.py", "./mine.py:share=20%", "delay:times=/etc/delays"]
)
def test_over_tcp_built_in_policies_can_be_loaded_and_those_of_the_start(
    spec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shaper.control.access.find", lambda head: type("Found", (), {"shorthand": "share"}))
    check_specs([spec], KNOWN, "over TCP")


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ("/tmp/evil.py", "only built-in policies can be loaded, and those named at the start, not /tmp/evil.py"),
        ("os:system", "not os:system"),
        ("loss:1% | evil:Policy", "not evil:Policy"),
        ("delay:times=/etc/shadow", "no option can name a file: times=/etc/shadow"),
        ("loss:packets=setup.py", "no option can name a file: packets=setup.py"),
        ("./mine.py:share=/etc/shadow", "no option can name a file"),
    ],
)
def test_over_tcp_nothing_is_read_or_run(spec: str, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parents[2])
    monkeypatch.setattr("shaper.control.access.find", lambda head: type("Found", (), {"shorthand": "share"}))
    with pytest.raises(UsageError, match=reason):
        check_specs([spec], KNOWN, "over TCP")


def test_it_is_tcp_that_is_restricted(start: Start, tmp_path: Path) -> None:
    running = start(Front(["delay:1ms"]), listen="127.0.0.1:0")
    policy = tmp_path / "mine.py"
    policy.write_text("from shaper import Policy\n\nclass Mine(Policy):\n    pass\n")
    steps = tmp_path / "steps"
    steps.write_text("0s 10ms\n")
    tcp = Client(running.url)
    with pytest.raises(UsageError, match="over TCP only built-in policies"):
        tcp.replace([str(policy)])
    with pytest.raises(UsageError, match="over TCP no option can name a file"):
        tcp.set("delay", {"times": str(steps)})
    assert running.client.set("delay", {"times": str(steps)})["name"] == "delay"
    assert running.client.replace([str(policy)])[0]["name"] == str(policy)
    with pytest.raises(ShaperError, match="there is no stage"):
        tcp.set("delay", {"time": "1ms"})
