"""`shaper run --network internet`: a way out, and in; the test's namespace plays the host, another one the outside."""

import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from shaper.linux import proc, programs
from tests.kernel.hosts import Host

pytestmark = pytest.mark.usefixtures("network")

SHAPER = (sys.executable, "-m", "shaper", "run")
OUTSIDE, OUTSIDE_IPV6 = "203.0.113.2", "2001:db8::2"
DELAY = 0.02
SOON = 0.8
"""Before a lost SYN would be sent again. How often each packet was held is seen by the counts."""
POLICIES = (
    "--policy", "delay:20ms,only=udp",
    "--policy", "delay:20ms,only=syn+synack+handshake-ack+pure-ack+dup-ack+window-update+data+fin+rst",
)  # fmt: skip
INSIDE = """
import socket, sys, time
echo = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
echo.connect(("web.test", 7))
for number in range(50):
    echo.send(bytes([number]))
assert [echo.recv(9)[0] for _ in range(50)] == list(range(50))
echo.connect(("127.0.0.1", 9))
receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
receiver.bind(("127.0.0.1", 9))
for number in range(20):
    echo.send(b"to itself")
for number in range(20):
    receiver.recv(99)
begin = time.monotonic()
upload = socket.create_connection((sys.argv[1], 8000))
connected = time.monotonic() - begin
upload.sendall(bytes(1_000_000))
upload.shutdown(socket.SHUT_WR)
upload.recv(99)
print(connected, time.monotonic() - begin, flush=True)
server = socket.create_server(("::", 80), family=socket.AF_INET6, dualstack_ipv6=True)
for _ in range(4):
    connection, (peer, *_) = server.accept()
    connection.sendall(peer.encode() + b" " + connection.recv(99))
    connection.close()
sys.exit(5)
"""


@pytest.fixture
def outside() -> Iterator[Host]:
    """A host outside, with a web server and an echo, to which everything goes; here a name server on lo knows it."""
    if programs.find("pasta") is None:
        pytest.skip("needs pasta: apt install passt")
    if not os.path.exists("/dev/net/tun"):
        pytest.skip("needs /dev/net/tun")
    with ExitStack() as opened:
        host = opened.enter_context(
            Host("up0", ["203.0.113.1/24", "2001:db8::1/64"], ["203.0.113.2/24", "2001:db8::2/64"])
        )
        for address in (OUTSIDE, OUTSIDE_IPV6):
            subprocess.run(["ip", "route", "add", "default", "via", address], check=True)
        web = host.socket(socket.AF_INET6, socket.SOCK_STREAM)
        web.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        web.bind(("::", 8000))
        web.listen()
        echo = host.socket(socket.AF_INET, socket.SOCK_DGRAM)
        echo.bind(("", 7))
        names = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        names.bind(("127.0.0.53", 53))
        stop, stopped = socket.socketpair()
        answers = {web: answer_request, echo: send_back, names: resolve, stopped: None}
        thread = threading.Thread(target=serve, args=(answers,))
        thread.start()
        yield host
        stop.close()
        thread.join()
        for server in answers:
            server.close()


def serve(answers: dict[socket.socket, Callable[[socket.socket], None] | None]) -> None:
    """Answer what comes to these sockets, until something comes to the one without an answer."""
    while True:
        for server in select.select(answers, [], [])[0]:
            answer = answers[server]
            if answer is None:
                return
            answer(server)


def answer_request(server: socket.socket) -> None:
    with server.accept()[0] as connection:
        if connection.recv(1000).startswith(b"GET "):
            connection.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello")
        else:
            while connection.recv(1 << 20):
                pass


def send_back(server: socket.socket) -> None:
    server.sendto(*server.recvfrom(2000))


def resolve(server: socket.socket) -> None:
    """Be a name server for which every name has the outside's IPv4 address, see RFC 1035."""
    query, client = server.recvfrom(512)
    end = query.index(b"\0", 12) + 5
    found = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4" + socket.inet_aton(OUTSIDE)
    if query[end - 4 : end - 2] != b"\0\1":
        found = b""
    header = query[:2] + b"\x81\x80\0\1" + (b"\0\1" if found else b"\0\0") + b"\0\0\0\0"
    server.sendto(header + query[12:end] + found, client)


def fetch_when_it_is_there(host: str, port: int) -> tuple[bytes, float]:
    """The answer of a server inside, once it listens, and how long it took in seconds."""
    deadline = time.monotonic() + 30
    while True:
        begin = time.monotonic()
        try:
            with socket.create_connection((host, port)) as connection:
                connection.sendall(b"hello")
                if answer := connection.recv(99):
                    return answer, time.monotonic() - begin
        except ConnectionError:
            pass
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_an_ordinary_users_command_gets_out_by_name_and_is_reached_from_outside(
    outside: Host, ordinary: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    before = []
    if not os.stat("/dev/net/tun").st_mode & 0o006:  # as udev makes it, everyone may open it
        before += ["mknod -m 666 /run/tun c 10 200", "mount --bind /run/tun /dev/net/tun"]
    before += ["echo nameserver 127.0.0.53 > /run/names", "mount --bind /run/names /etc/resolv.conf"]
    curl = "curl -s -w ' %{time_namelookup} %{time_connect} %{time_starttransfer}\\n' http://web.test:8000/"
    line = f'{curl}; exec "$@"'
    command = ["sh", "-c", line, "sh", sys.executable, "-c", INSIDE, OUTSIDE_IPV6]
    given = [*POLICIES, "--network", "internet", "--publish", "8080:80", "--json"]
    with ThreadPoolExecutor() as pool:
        run = pool.submit(lambda: ordinary(*SHAPER, *given, "--", *command, before=before))
        answers = [fetch_when_it_is_there("127.0.0.1", 8080), fetch_when_it_is_there("::1", 8080)]
        with outside.inside():
            answers += [fetch_when_it_is_there("203.0.113.1", 8080), fetch_when_it_is_there("2001:db8::1", 8080)]
        done = run.result()
    assert done.returncode == 5, done.stderr
    (body, *times), uploaded = (each.split() for each in done.stderr.splitlines()[:2])
    resolved, connect, first = map(float, times)
    assert body == "hello"
    assert 2 * DELAY <= resolved < SOON
    assert 2 * DELAY <= connect - resolved < SOON
    assert 2 * DELAY <= first - connect < SOON
    assert 2 * DELAY <= float(uploaded[0]) < SOON
    # In `output`, held packets would count against their sender, and this would take 3 s.
    assert 6 * DELAY <= float(uploaded[1]) < 2
    for answer, took in answers:
        assert answer.endswith(b" hello")
        assert 2 * DELAY <= took < SOON
    # The outside's own addresses are seen inside.
    assert [answer.split()[0] for answer, _ in answers[2:]] == [b"::ffff:203.0.113.2", b"2001:db8::2"]
    summary = json.loads(done.stdout)
    assert (summary["taken"], summary["bypassed"]) == (summary["sent"], 0)
    # Questions for names with their answers, two of curl's and one of Python's, the echoes, and what passed lo.
    assert summary["stages"]["delay"]["held"] == 2 * 3 + 2 * 50 + 20


def test_the_way_out_ends_with_a_shaper_that_is_killed(outside: Host) -> None:
    with subprocess.Popen(
        [*SHAPER, "--policy", "pass_through", "--network", "internet", "--", "sh", "-c", "echo ready; read x"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        started = {proc.stat(pid).comm: os.pidfd_open(pid) for pid in proc.children(process.pid)}
        assert any(name.startswith("pas") for name in started)  # its own name has the CPU's features
        process.kill()
        for name in started.keys() - {"sh"}:
            assert select.select([started[name]], [], [], 20)[0], name
        signal.pidfd_send_signal(started["sh"], signal.SIGKILL)


def test_no_way_out() -> None:
    asked = [*SHAPER, "--policy", "delay", "--network", "internet", "--", "true"]
    done = subprocess.run(asked, capture_output=True, text=True)
    assert done.stderr == "shaper: this machine has no default route, so there is no way out for --network internet\n"
    assert done.returncode == 1
