"""Calls on real sockets are made, recorded and read back."""

import io
import json
import os
import select
import signal
import socket
import threading
from collections.abc import Iterator

import pytest

from shaper.probe.ends.account import Call, read_account
from shaper.probe.ends.calls import IN, OUT, CallRecorder, Socket, TimeIsUp


class Output(io.StringIO):
    def calls(self) -> list[Call]:
        return list(read_account("client", 1, self.getvalue().splitlines()).calls)


@pytest.fixture
def output() -> Output:
    return Output()


@pytest.fixture
def pair(output: Output) -> Iterator[tuple[Socket, socket.socket]]:
    """A recorded socket, and the other end."""
    one, other = socket.socketpair()
    recorded = Socket.open(CallRecorder(output), socket.AF_UNIX, socket.SOCK_STREAM, one.detach())
    yield recorded, other
    other.close()
    recorded.close()


def test_names_and_results(pair: tuple[Socket, socket.socket], output: Output) -> None:
    recorded, other = pair
    recorded.sendall(b"four")
    other.sendall(b"answer")
    recorded.recorder.poll([(recorded, IN)])
    recorded.recorder.select([(recorded, IN | OUT)])
    assert recorded.recv(3) == b"ans"
    assert recorded.recv_into(bytearray(10)) == 3
    other.shutdown(socket.SHUT_WR)
    assert recorded.receive(10) == b""
    recorded.shutdown(socket.SHUT_WR)
    assert [(call.syscall, call.result, call.bytes) for call in output.calls()] == [
        ("sendto", 4, 4),
        ("poll", 1, None),
        ("pselect6", 2, None),
        ("recvfrom", 3, 3),
        ("recvfrom", 3, 3),
        ("recvfrom", 0, 0),
        ("shutdown", 0, None),
    ]
    assert all(0 < call.start <= call.end for call in output.calls())


def test_epoll(pair: tuple[Socket, socket.socket], output: Output) -> None:
    recorded, other = pair
    other.sendall(b"x")
    with select.epoll() as epoll:
        epoll.register(recorded, select.EPOLLIN)
        assert recorded.recorder.epoll_wait(epoll, [(recorded, IN)]) == [(recorded.fileno(), IN)]
    assert output.calls()[0].syscall == "epoll_wait"


def test_a_call_that_waits(pair: tuple[Socket, socket.socket], output: Output) -> None:
    recorded, other = pair
    later = threading.Timer(0.05, other.sendall, [b"x"])
    later.start()
    recorded.recv(1)
    later.join()
    assert output.calls()[0].duration > 40_000_000


def test_errors_have_names(output: Output) -> None:
    with (
        Socket.open(CallRecorder(output), socket.AF_INET, socket.SOCK_STREAM) as unconnected,
        pytest.raises(BrokenPipeError),
    ):
        unconnected.send(b"x")
    call = output.calls()[0]
    assert (call.syscall, call.result, call.error) == ("sendto", -32, "EPIPE")


def test_a_call_whose_time_is_up(pair: tuple[Socket, socket.socket], output: Output) -> None:
    def time_is_up(number: int, frame: object) -> None:
        raise TimeIsUp

    before = signal.signal(signal.SIGALRM, time_is_up)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(TimeIsUp):
            pair[0].recv(1)
    finally:
        signal.signal(signal.SIGALRM, before)
    call = output.calls()[0]
    assert (call.syscall, call.error) == ("recvfrom", "EINTR")
    assert call.duration > 40_000_000


def test_an_account_that_was_cut_off() -> None:
    lines = [
        json.dumps({"start_ns": 1, "syscall": "accept4", "fd": 3, "result": 4, "end_ns": 2}),
        json.dumps({"flow": 4, "protocol": "tcp", "local": ["::1", 8765], "remote": ["::1", 40000]}),
        json.dumps({"start_ns": 3, "syscall": "recvfrom", "fd": 4, "result": 6, "end_ns": 4, "bytes": 6}),
        '{"start_ns": 5, "sysc',
    ]
    account = read_account("server", os.getpid(), lines)
    assert account.why == "it died"
    assert [str(call.flow) for call in account.calls] == ["tcp [::1]:8765 > [::1]:40000"] * 2
