"""Made-up traffic for property tests: any mix of TCP, UDP, ICMP, IPv6, fragments and junk."""

from __future__ import annotations

from random import Random

from hypothesis import strategies as st

from shaper.timeline.packet_spec import Ends, PacketSpec, bytes_of
from shaper.units import ms
from shaper.wire.header import ACK, FIN, PSH, RST, SYN
from shaper.wire.packet import Packet

FLAGS = (ACK, ACK, ACK, ACK | PSH, SYN, SYN | ACK, FIN | ACK, RST, RST | ACK, 0)
ADDRESSES = (("192.0.2.1", "192.0.2.9"), ("2001:db8::1", "2001:db8::9"))


def _catalogue(random: Random) -> list[bytes]:
    """Packets to choose from: one draw for each packet keeps hypothesis quick."""
    raws = []
    for number in range(1, 3001):
        client, server = random.choice(ADDRESSES)
        ends = Ends(client, random.randint(40000, 40002), server, 80)
        if random.random() < 0.5:
            ends = ends.reverse
        kind = random.choice(("tcp", "tcp", "tcp", "udp", "icmp", "other", "fragment"))
        look = PacketSpec(kind, random.choice((0, 0, 1, 100, 1448)))
        if kind == "tcp":
            sack = random.random() < 0.1
            look = look._replace(
                flags=random.choice(FLAGS),
                seq=random.choice((0, 1, 101, 4294967295)),
                ack=random.choice((0, 1, 1001, 2001, 4294967290)),
                window=random.choice((0, 500, 65535)),
                sack=sack,
                options=12 * sack,
            )
        raw = bytes_of(look, ends, number)
        raws.append(raw[: random.randint(0, 70)] if random.random() < 0.1 else raw)
    return raws + [random.randbytes(random.randint(0, 60)) for _ in range(100)]


raws = st.sampled_from(_catalogue(Random("made-up traffic")))
gaps = st.sampled_from((0, 0, 1, 1 * ms, 7 * ms, 50 * ms))


@st.composite
def traffic(draw: st.DrawFn, *, size: int = 30) -> list[Packet]:
    """Packets in order of arrival."""
    now, packets = 0, []
    for number, (raw, gap) in enumerate(draw(st.lists(st.tuples(raws, gaps), max_size=size)), 1):
        now += gap
        packets.append(Packet(raw, id=number, arrived=now))
    return packets


def openings() -> list[Packet]:
    """One packet from each client, by which it is known who opened each connection."""
    kinds = (PacketSpec("tcp", 0, SYN), PacketSpec("udp", 100))
    flows = [Ends(client, port, server, 80) for client, server in ADDRESSES for port in range(40000, 40003)]
    raws = [bytes_of(look, ends, 1) for look in kinds for ends in flows]
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
