"""Cases for pytest-benchmark: the core, the packet view and each policy, without a kernel.

Each run is saved under its commit; `pytest-benchmark compare` shows two of them side by side.
"""

from struct import pack

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from shaper import Policy, Script, Stream
from shaper.core.core import Core
from shaper.spec.load import builtin_names, load
from shaper.units import us
from shaper.wire.header import read_tcp
from shaper.wire.packet import Packet

PACKETS = 1000
BATCH = 16
GAP = 50 * us
OPTIONS = {"netem": 'netem:"delay 1ms"', "delay": "delay:time=1ms"}


def udp(number: int) -> bytes:
    """A UDP packet of 64 bytes."""
    ends = b"\x7f\0\0\1\x7f\0\0\1"
    return pack("!BBHHHBBH8sHHHH", 0x45, 0, 64, number, 0, 64, 17, 0, ends, 40000, 9999, 44, 0) + bytes(36)


def tcp(number: int) -> bytes:
    """A TCP packet of 1440 bytes."""
    ends = b"\x7f\0\0\1\x7f\0\0\1"
    header = pack("!BBHHHBBH8s", 0x45, 0, 1440, number, 0, 64, 6, 0, ends)
    return header + pack("!HHIIBBHHH", 40000, 9999, number * 1400, 1, 5 << 4, 0x10, 65535, 0, 0) + bytes(1400)


RAW = {"udp": [udp(number) for number in range(PACKETS)], "tcp": [tcp(number) for number in range(PACKETS)]}


@pytest.mark.parametrize("kind", ["udp", "tcp"])
def test_packet(benchmark: BenchmarkFixture, kind: str) -> None:
    benchmark(lambda: [Packet(raw, 1, 1) for raw in RAW[kind]])


@pytest.mark.parametrize("kind", ["udp", "tcp"])
def test_flow(benchmark: BenchmarkFixture, kind: str) -> None:
    benchmark(lambda: [Packet(raw, 1, 1).flow for raw in RAW[kind]])


def test_tcp_header(benchmark: BenchmarkFixture) -> None:
    benchmark(lambda: [read_tcp(raw) for raw in RAW["tcp"]])


@pytest.mark.parametrize("kind", ["udp", "tcp"])
@pytest.mark.parametrize("name", builtin_names())
def test_policy(benchmark: BenchmarkFixture, name: str, kind: str) -> None:
    through(benchmark, [name], kind)


@pytest.mark.parametrize("stages", [2, 4, 8])
def test_delays_in_a_row(benchmark: BenchmarkFixture, stages: int) -> None:
    through(benchmark, ["delay"] * stages, "udp")


class Spread(Script):
    """What spread_burst does, written as a script."""

    needs = "headers"

    async def story(self, flow: Stream) -> None:
        async for packet in flow:
            flow.send(packet)
            await flow.sleep(10 * us)


def test_spread_as_a_script(benchmark: BenchmarkFixture) -> None:
    run_through(benchmark, [Spread()], "udp")


def test_spread_as_a_policy(benchmark: BenchmarkFixture) -> None:
    run_through(benchmark, [load("spread_burst:gap=10us")], "udp")


def through(benchmark: BenchmarkFixture, names: list[str], kind: str) -> None:
    """Measure these policies with packets of this kind."""
    run_through(benchmark, [load(OPTIONS.get(name, name)) for name in names], kind)


def run_through(benchmark: BenchmarkFixture, pipeline: list[Policy], kind: str) -> None:
    """Send packets that are 50 µs apart through a pipeline, in batches of 16."""

    def fresh() -> tuple[tuple[Core, list[Packet]], dict[str, object]]:
        packets = [Packet(raw, number + 1, (number + 1) * GAP) for number, raw in enumerate(RAW[kind])]
        return (Core(pipeline), packets), {}

    def run(core: Core, packets: list[Packet]) -> None:
        for at in range(0, PACKETS, BATCH):
            for packet in packets[at : at + BATCH]:
                core.receive(packet, packet.arrived)
            core.due(packet.arrived)
            core.next_deadline()
        core.close()

    benchmark.pedantic(run, setup=fresh, rounds=30, warmup_rounds=2)
