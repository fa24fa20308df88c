"""What a client can't do to the server: fill its memory, keep its places, or stop it by nonsense."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import pytest

from shaper.control import http
from shaper.control.serve import CONNECTIONS
from tests.control.conftest import Running

STATUS = b"GET /v1/status HTTP/1.1\r\nHost: localhost\r\n\r\n"
PUT = b"PUT /v1/pipeline HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


def until_closed(connection: socket.socket) -> bytes:
    """All that comes until the server closes."""
    received = b""
    with suppress(ConnectionResetError):
        while data := connection.recv(65536):
            received += data
    return received


def send(connection: socket.socket, *parts: bytes) -> bytes:
    """What the server answers to this before it closes, although it may not read all of it."""
    with suppress(BrokenPipeError, ConnectionResetError):
        for part in parts:
            connection.sendall(part)
    return until_closed(connection)


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> float:
    """The server waits for a request no longer than this, in seconds."""
    monkeypatch.setattr(http, "REQUEST_TIME", 0.5)
    return 0.5


def test_a_request_of_10_mb_is_refused(running: Running) -> None:
    body = b"x" * 10_000_000
    with running.connect() as connection:
        answer = send(connection, PUT + b"Content-Length: 10000000\r\n\r\n", body)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"a body has at most 64 kB" in answer
    assert b"connection: close" in answer.lower()
    with running.connect() as connection:
        answer = send(connection, PUT + b"Transfer-Encoding: chunked\r\n\r\n", b"989680\r\n", body, b"\r\n0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert running.client.status()["policies"] == ["delay:20ms", "loss:1%"]


def test_headers_of_1_mb_are_refused(running: Running) -> None:
    with running.connect() as connection:
        answer = send(connection, STATUS[:-2], b"X: " + b"x" * 1_000_000)
    assert answer.startswith(b"HTTP/1.1 431 ")


@pytest.mark.parametrize(
    "nonsense", [b"\x16\x03\x01\x02\x00" * 100, b"GET\r\n\r\n", b"GET nowhere HTTP/1.1\r\nHost: a\r\n\r\n", b"\0" * 40]
)
def test_what_is_no_request_is_refused(running: Running, nonsense: bytes) -> None:
    with running.connect() as connection:
        connection.sendall(nonsense)
        connection.shutdown(socket.SHUT_WR)
        assert until_closed(connection).startswith(b"HTTP/1.1 400 ")


def test_slow_senders_are_closed(running: Running, hasty: float) -> None:
    with running.connect() as idle, running.connect() as slow, running.connect() as slow_body:
        slow_body.sendall(PUT + b"Content-Length: 1000\r\n\r\n{")
        begun = time.monotonic()
        with suppress(BrokenPipeError):
            for byte in STATUS:
                slow.sendall(bytes([byte]))
                time.sleep(0.05)
        assert time.monotonic() - begun < 5
        assert until_closed(slow).startswith(b"HTTP/1.1 408 ")
        assert until_closed(slow_body).startswith(b"HTTP/1.1 408 ")
        assert until_closed(idle) == b""


def test_slow_readers_are_closed(running: Running, hasty: float) -> None:
    with running.connect() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            connection.sendall(STATUS * 100_000)


@pytest.fixture
def crowd() -> Iterator[ExitStack]:
    with ExitStack() as crowd:
        yield crowd


@pytest.mark.parametrize("kind", ["unix", "tcp"])
def test_of_1000_connections_most_wait(over_tcp: Running, kind: str, crowd: ExitStack, hasty: float) -> None:
    running = over_tcp
    before = len(os.listdir("/proc/self/fd"))
    opened = 0
    for _ in range(1000):
        family = socket.AF_UNIX if kind == "unix" else socket.AF_INET
        connection = crowd.enter_context(socket.socket(family))
        connection.setblocking(False)
        connection.connect_ex(str(running.listeners.path) if kind == "unix" else running.listeners.tcp[0].getsockname())
        opened += 1
    time.sleep(0.1)
    accepted = len(os.listdir("/proc/self/fd")) - before - opened
    assert 0 < accepted <= CONNECTIONS
    begun = time.monotonic()
    assert running.client.status()["state"] == "shaping"
    # Each socket has places of its own.
    assert kind == "unix" or time.monotonic() - begun < hasty


def test_requests_follow_each_other_in_one_connection(running: Running) -> None:
    with running.connect() as connection:
        last = STATUS[:-2] + b"Connection: close\r\n\r\n"
        answers = send(connection, STATUS + STATUS, last)
    assert answers.count(b"HTTP/1.1 200 OK") == 3


def test_a_body_is_asked_for(running: Running) -> None:
    body = b'{"policies": ["rate:1mbit"]}'
    with running.connect() as connection:
        connection.sendall(PUT + b"Expect: 100-continue\r\nConnection: close\r\nContent-Length: 28\r\n\r\n")
        assert connection.recv(25).startswith(b"HTTP/1.1 100 ")
        connection.sendall(body)
        assert b"HTTP/1.1 200 OK" in until_closed(connection)


def test_a_half_closed_connection_is_answered(running: Running) -> None:
    with running.connect() as connection:
        connection.sendall(STATUS)
        connection.shutdown(socket.SHUT_WR)
        assert until_closed(connection).startswith(b"HTTP/1.1 200 OK")


def test_http_1_0_is_answered(running: Running) -> None:
    with running.connect() as connection:
        assert send(connection, b"GET /v1/status HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 200 OK")
    with running.connect() as connection:
        head = send(connection, b"HEAD /v1/status HTTP/1.0\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 405 ")
        assert head.endswith(b"\r\n\r\n")
