"""What packets and flows take of the memory: one case a process, which prints its figures as JSON."""

import gc
import json
import resource
import sys
import tracemalloc
from struct import pack

from shaper.core.core import Core
from shaper.spec.load import load
from shaper.wire.packet import Packet

BEGIN = 1_000_000_000_000
STEP = 1_000
"""Between two packets, in ns."""
FEW = 1_000
"""Packets that come before it counts."""
LENGTH = 100


def main(case: str, spec: str, many: str) -> None:
    """Print what a case takes."""
    print(json.dumps({"held": held, "flows": flows, "pairs": pairs}[case](spec, int(many))))


def packet(number: int, flow: int, protocol: str = "udp", *, back: bool = False) -> Packet:
    """A packet of 100 bytes of one of many flows."""
    client, server = pack("!BH", 10, flow >> 15).ljust(4, b"\1"), b"\x0a\xff\0\1"
    ports = (1024 + (flow & 0x7FFF), 9999)
    if back:
        client, server, ports = server, client, ports[::-1]
    kind, rest = (
        (17, pack("!HH", LENGTH - 20, 0)) if protocol == "udp" else (6, pack("!IIBBHHH", 1, 1, 80, 16, 512, 0, 0))
    )
    header = pack("!BBHHHBBH4s4sHH", 0x45, 0, LENGTH, number & 0xFFFF, 0, 64, kind, 0, client, server, *ports)
    at = BEGIN + number * STEP
    return Packet((header + rest).ljust(LENGTH, b"\0"), number + 1, at)


def held(spec: str, many: int) -> dict[str, float]:
    """The bytes that a held packet takes beyond its own."""
    core = Core([load(spec)])

    def hold(begin: int, end: int) -> None:
        for number in range(begin, end):
            core.receive(one := packet(number, 7, "tcp"), one.arrived)

    hold(0, FEW)
    before = started()
    hold(FEW, FEW + many)
    if core.counts.held != FEW + many:
        raise SystemExit(f"only {core.counts.held} packets are held")
    return {"bytes": (taken() - before) / many - LENGTH, "resident": resident()}


def flows(spec: str, many: int, *, both: bool = False) -> dict[str, float]:
    """The bytes that a flow takes once its packets have gone; `many` beyond the table's size shows its bound."""
    core = Core([load(spec)])

    def meet(begin: int, end: int) -> None:
        for number in range(begin, end):
            for back in (False, True)[: 1 + both]:
                core.receive(one := packet(number, number, "tcp" if both else "udp", back=back), one.arrived)
            core.due(one.arrived)

    meet(0, FEW)
    is_counted = many < 1 << 16
    before = started() if is_counted else 0
    meet(FEW, FEW + many)
    core.due(BEGIN + 2 * (FEW + many) * STEP)
    core.close()
    if not is_counted:
        return {"resident": resident()}
    return {"bytes": (taken() - before) / many / (1 + both), "resident": resident()}


def pairs(spec: str, many: int) -> dict[str, float]:
    """As `flows`, of TCP connections whose two directions both come."""
    return flows(spec, many, both=True)


def started() -> int:
    """Begin to count; returns the bytes in use."""
    gc.collect()
    tracemalloc.start()
    return tracemalloc.get_traced_memory()[0]


def taken() -> int:
    """The bytes in use."""
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


def resident() -> float:
    """The bytes of this process that are in memory."""
    with open("/proc/self/statm") as file:
        return float(file.read().split()[1]) * resource.getpagesize()


if __name__ == "__main__":
    main(*sys.argv[1:])
