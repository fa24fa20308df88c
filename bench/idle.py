"""Whether flows that are no longer used give back their memory: the core in virtual time, without a kernel."""

import tracemalloc
from struct import pack

from bench.plan import Found
from shaper.core.connections import IDLE
from shaper.core.core import Core
from shaper.spec.load import load
from shaper.wire.packet import Packet

FLOWS = 20_000
WAVES = 5


def waves() -> dict[str, Found]:
    """The memory in bytes after each wave of new flows; by then, the flows of the wave before have expired."""
    core = Core([load("delay:time=1ms")])
    found = {}
    tracemalloc.start()
    for wave in range(WAVES):
        now = (wave + 1) * 2 * IDLE
        for number in range(FLOWS):
            core.receive(Packet(udp(wave, number), wave * FLOWS + number + 1, now + number), now + number)
        while (deadline := core.next_deadline()) is not None:
            core.due(deadline)
        found[str((wave + 1) * FLOWS)] = {"bytes": float(tracemalloc.get_traced_memory()[0])}
    tracemalloc.stop()
    return found


def udp(wave: int, flow: int) -> bytes:
    """A datagram of a flow that no other wave has."""
    ends = pack("!BBH4s", 10, wave, flow, b"\x0a\xff\0\1")
    return pack("!BBHHHBBH8sHHHH", 0x45, 0, 64, flow, 0, 64, 17, 0, ends, 40000, 9999, 44, 0) + bytes(36)
