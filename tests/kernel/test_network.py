"""`shaper.network`: programs and functions inside private networks, as root and as an ordinary user."""

from __future__ import annotations

import gc
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import anyio
import pytest

from shaper.errors import ShaperError, UsageError
from shaper.linux import proc
from shaper.network import AsyncNetwork, Network
from shaper.network import host as hosts
from shaper.network import network as networks

SERVE = (
    "import socket, sys\ns = socket.create_server(('127.0.0.1', 7000))\nwhile True:\n    s.accept()[0].send(b'hello')"
)
FETCH = "import socket\nprint(socket.create_connection(('127.0.0.1', 7000)).recv(100).decode())"


@pytest.fixture
def private(namespaces: None) -> Iterator[Network]:
    with Network("delay:20ms", seed=7) as network:
        yield network


def python(code: str) -> list[str]:
    return [sys.executable, "-I", "-S", "-c", code]


def exchange(message: bytes) -> bytes:
    with socket.create_server(("127.0.0.1", 7000)) as server, socket.create_connection(server.getsockname()) as client:
        client.sendall(message)
        return server.accept()[0].recv(len(message))


def test_a_server_and_a_client_inside(private: Network) -> None:
    server = private.start(python(SERVE))
    private.wait_for_port(7000)
    begin = time.monotonic()
    done = private.run(python(FETCH), timeout=10, check=True)
    assert (done.stdout, done.returncode) == ("hello\n", 0)
    assert time.monotonic() - begin > 0.06  # SYN, SYN-ACK, data
    assert [packet.held_ms >= 20 for packet in private.packets.of("syn", "synack", "data")] == [True] * 3
    assert str(private.packets.of("data")[0].name) == "tcp/7000 #1 reply data 1"
    assert {"connect", "accept4"} <= {wait.call for wait in private.blockings}
    private.close()
    assert server.returncode == -signal.SIGTERM
    assert private.summary.taken == len(private.packets) >= 4
    assert private.summary.problems() == []


def test_options_change_while_packets_flow(private: Network) -> None:
    private.call(exchange, b"one")
    private.change("delay", time="50ms")
    private.call(exchange, b"two")
    private.replace("loss:0%")
    private.call(exchange, b"three")
    private.replace("delay:20ms")
    private.pause()
    private.call(exchange, b"four")
    private.resume()
    private.call(exchange, b"five")
    held = [round(packet.held_ms / 10) * 10 for packet in private.packets.of("syn")]
    assert held == [20, 50, 0, 0, 20]


def test_a_change_that_can_not_be_made_changes_nothing(private: Network) -> None:
    with pytest.raises(UsageError, match="delay has no option 'tim'"):
        private.change("delay", tim="1ms")
    with pytest.raises(UsageError, match="there is no stage 'loss'; there is delay"):
        private.change("loss", probability="1%")
    private.call(exchange, b"one")
    assert private.packets.of("syn")[0].held_ms >= 20


def test_a_call_passes_on_results_and_errors(private: Network) -> None:
    assert private.call(exchange, b"one") == b"one"
    assert private.call(os.geteuid) == os.geteuid()
    with pytest.raises(ZeroDivisionError):
        private.call(lambda: 1 / 0)
    with pytest.raises(ShaperError, match="the process of the call died, with status 3"):
        private.call(os._exit, 3)
    with pytest.raises(ShaperError, match="the result of the call can't be passed on"):
        private.call(lambda: lambda: None)


def test_nobody_outside_can_be_reached(private: Network) -> None:
    with socket.create_server(("127.0.0.1", 0)) as outside, pytest.raises(ConnectionRefusedError):
        private.call(socket.create_connection, outside.getsockname())


def test_the_same_seed_decides_the_same(namespaces: None) -> None:
    def fates(seed: int) -> list[str]:
        with Network("loss:30%,direction=original", seed=seed) as network:
            network.run(["ping", "-U", "-q", "-c", "40", "-i", "0.002", "-W", "0.2", "127.0.0.1"])
            return [packet.fate for packet in network.packets.of(direction="original")]

    first = fates(1)
    assert first == fates(1)
    assert "dropped" in first
    assert first != fates(2)


def test_a_profile_and_policies_together(namespaces: None) -> None:
    with Network("loss:0%", profile="lte") as network:
        assert network.policies[-1] == "loss:0%"
        assert len(network.policies) > 1
        assert network.summary.taken == 0


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Network("dely:20ms"), "there is no policy 'dely'"),
        (lambda: Network(mtu=10), "an MTU of 10 bytes carries no IP packets"),
        (lambda: Network(profile="lt"), "there is no profile 'lt'"),
    ],
)
def test_what_can_not_be_made(make: object, said: str, namespaces: None) -> None:
    assert callable(make)
    with pytest.raises(UsageError, match=said), make():
        pass


def test_waiting_for_a_port_ends(private: Network) -> None:
    with pytest.raises(ShaperError, match=r"nothing listens at tcp port 7000 after 0.05 s"):
        private.wait_for_port(7000, timeout=0.05)
    private.start(["false"]).wait()
    with pytest.raises(ShaperError, match="nothing listens at tcp port 7000, and false has ended with status 1"):
        private.wait_for_port(7000)


def test_what_takes_too_long_is_killed(private: Network) -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        private.run(["sleep", "60"], timeout=0.05)
    with pytest.raises(subprocess.CalledProcessError):
        private.run(["false"], check=True)
    with pytest.raises(FileNotFoundError):
        private.run(["no-such-program"])


def test_processes_that_programs_leave_behind_end_with_the_network(
    namespaces: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(networks, "PATIENCE", 0.3)
    stubborn = (
        "import os, signal, time\nsignal.signal(15, signal.SIG_IGN)\nprint(os.getpid(), flush=True)\ntime.sleep(60)"
    )
    with Network() as network:
        done = network.run(["sh", "-c", "sleep 60 >&- 2>&- & echo $!"])
        ignores = network.start(python(stubborn), stdout=subprocess.PIPE, text=True)
        assert ignores.stdout is not None
        ignores.stdout.readline()
    assert ignores.poll() == -signal.SIGKILL
    with suppress(OSError):  # nobody has waited for it yet
        assert proc.stat(int(done.stdout)).has_ended
    with pytest.raises(ShaperError, match="the network is not open"):
        network.run(["true"])


def test_networks_leave_nothing(namespaces: None) -> None:
    hosts.host()
    gc.collect()  # what other tests have left open
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        with Network("delay:1ms") as network:
            network.call(exchange, b"one")
    assert len(os.listdir("/proc/self/fd")) == before


def test_when_the_user_dies_so_do_the_host_and_its_networks(namespaces: None) -> None:
    code = "from shaper.network import Network\nn = Network()\nn.open()\nprint(n.link.pid, flush=True)\ninput()"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True)
    assert process.stdout is not None
    pid = int(process.stdout.readline())
    host = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    process.kill()
    process.communicate()
    give_up = time.monotonic() + 10
    while any(Path(f"/proc/{each}").exists() for each in (pid, host)):
        assert time.monotonic() < give_up
        time.sleep(0.01)


def test_an_engine_that_died_is_an_error_of_one_line(private: Network) -> None:
    os.kill(private.link.pid, signal.SIGKILL)
    with pytest.raises(ShaperError, match=r"the network.* (died|ended)"):
        private.change("delay", time="1ms")
    with pytest.raises(ShaperError, match=r"the network.* (died|ended)"):
        private.close()


def test_as_an_ordinary_user(ordinary: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    code = """
import os
from shaper.network import Network
with Network("delay:1ms") as network:
    print(network.run(["id", "-u"], check=True).stdout.strip(), network.call(os.geteuid))
    network.run(["ping", "-U", "-q", "-c", "1", "127.0.0.1"], check=True)
    network.run(["ping", "-U", "-q", "-c", "2", "-i", "0.2", "127.0.0.1"], check=True)
    print(len(network.packets), {wait.call for wait in network.blockings} >= {"poll"})
"""
    done = ordinary(sys.executable, "-c", code)
    assert (done.stdout.split(), done.stderr) == (["4711", "4711", "6", "True"], "")


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_asynchronously(backend: str, namespaces: None) -> None:
    async def main() -> None:
        async with AsyncNetwork("delay:20ms") as network:
            await network.start(python(SERVE))
            await network.wait_for_port(7000)
            assert (await network.run(python(FETCH))).stdout == "hello\n"
            await network.change("delay", time="30ms")
            assert await network.call(os.geteuid) == os.geteuid()
            assert len((await network.packets()).of("syn")) == 1
            with anyio.move_on_after(0.1):
                await network.run(["sleep", "60"])
            assert (await network.summary()).taken >= 4

    begin = time.monotonic()
    anyio.run(main, backend=backend)
    assert time.monotonic() - begin < 30
