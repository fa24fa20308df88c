"""Made-up traffic for property tests: any mix of TCP, UDP, ICMP, IPv6, fragments and junk."""

from __future__ import annotations

from random import Random

from hypothesis import strategies as st

from shaper.timeline.packet_spec import Ends, PacketSpec, bytes_of
from shaper.units import ms
from shaper.wire.header import ACK, FIN, PSH, RST, SYN
from shaper.wire.packet import Packet

ADDRESSES = (("192.0.2.1", "192.0.2.9"), ("2001:db8::1", "2001:db8::9"))
CLIENTS = [Ends(client, port, server, 80) for client, server in ADDRESSES for port in range(40000, 40003)]
KINDS = ("tcp",) * 14 + ("udp",) * 3 + ("icmp", "other", "fragment", "junk")
FLAGS = (ACK, ACK, ACK, ACK, ACK | PSH, ACK | PSH, SYN, SYN | ACK, FIN | ACK, RST, RST | ACK, 0)
SIZE = 60


def _catalogue(random: Random, client: Ends) -> list[bytes]:
    """Packets between these two ends, both ways, to choose from: one draw for each packet keeps hypothesis quick."""
    found = []
    for number in range(1, 301):
        ends = client if random.random() < 0.5 else client.reverse
        kind = random.choice(KINDS)
        if kind == "junk":
            found.append(random.randbytes(random.randint(0, 60)))
            continue
        spec = PacketSpec(kind, random.choice((0, 1, 100, 1448)))
        if kind == "tcp":
            spec = _segment(random, number)
        raw = bytes_of(spec, ends, number)
        found.append(raw[: random.randint(0, 70)] if random.random() < 0.03 else raw)
    return found


def _segment(random: Random, number: int) -> PacketSpec:
    """One of few that a sender might send, so that those of one example often continue or repeat each other."""
    flags = random.choice(FLAGS)
    seq, payload = (0, 0) if flags & SYN else (random.choice((1, 1, 101, 201)), random.choice((0, 0, 100)))
    if number % 20 == 0:
        seq, payload = random.choice((4294967295, 5000)), random.choice((1, 1448))
    sack = not payload and random.random() < 0.1
    return PacketSpec(
        "tcp",
        payload,
        flags,
        seq,
        random.choice((1, 1, 101, 201, 4294967290)) if flags & ACK else 0,
        random.choice((500, 65535, 65535, 65535)),
        sack=sack,
        options=12 * sack,
    )


CATALOGUES = [_catalogue(Random(f"made-up traffic {nth}"), client) for nth, client in enumerate(CLIENTS)]
raws = st.sampled_from([raw for catalogue in CATALOGUES for raw in catalogue])
GAPS = (0, 0, 1, 1 * ms, 7 * ms, 50 * ms)
ARRIVALS = [[(raw, gap) for raw in catalogue for gap in GAPS] for catalogue in CATALOGUES]


@st.composite
def traffic(draw: st.DrawFn, *, size: int = SIZE) -> list[Packet]:
    """Packets in order of arrival, between one or two pairs of ends, so that most flows have several."""
    chosen = draw(st.lists(st.sampled_from(ARRIVALS), min_size=1, max_size=2))
    arrival = st.sampled_from([arrival for arrivals in chosen for arrival in arrivals])
    count = draw(st.integers(0, size))
    now, packets = 0, []
    for number, (raw, gap) in enumerate(draw(st.lists(arrival, min_size=count, max_size=count)), 1):
        now += gap
        packets.append(Packet(raw, id=number, arrived=now))
    return packets


def openings() -> list[Packet]:
    """One packet from each client, by which it is known who opened each connection."""
    kinds = (PacketSpec("tcp", 0, SYN), PacketSpec("udp", 100))
    raws = [bytes_of(spec, client, 1) for spec in kinds for client in CLIENTS]
    return [Packet(raw, id=number) for number, raw in enumerate(raws, 10_001)]


def anew(packets: list[Packet], *, ports_moved_by: int = 0) -> list[Packet]:
    """The same packets as they came; with other client ports, if asked for."""
    return [
        Packet(_moved(packet, ports_moved_by) if ports_moved_by else packet.raw, packet.id, packet.arrived)
        for packet in packets
    ]


def _moved(packet: Packet, by: int) -> bytes:
    """Its bytes with the client's port, the one that isn't 80, moved."""
    flow, at = packet.flow, packet.ip.transport
    if not flow.sport:
        return packet.raw
    raw = bytearray(packet.raw)
    for offset, port in ((at, flow.sport), (at + 2, flow.dport)):
        if 40000 <= port <= 40002:
            raw[offset : offset + 2] = (port + by).to_bytes(2)
    return bytes(raw)
