"""Packets that nobody should send: cut off, lying about their lengths, made of odd parts, or of nothing."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from struct import pack, pack_into

from shaper.timeline.packet_spec import Ends, PacketSpec, bytes_of
from shaper.wire.header import ACK, SYN

V4, V6 = ("127.0.0.1", "127.0.0.2"), ("::1", "::1")
# Hop-by-hop, routing, fragment, ESP, authentication, none, destination, mobility, HIP, shim6 (IANA's list).
EXTENSIONS = (0, 43, 44, 50, 51, 59, 60, 135, 139, 140)
IP_IN_IP, IPV6_IN_IP, GRE, SCTP = 4, 41, 47, 132
WHOLE = 65535  # bytes of the longest IPv4 packet


def sound(random: Random, version: int) -> bytes:
    """A packet as it should be, to be spoilt."""
    source, destination = V4 if version == 4 else V6
    kind = random.choice(("tcp", "tcp", "udp", "icmp", "other", "fragment"))
    ends = Ends(source, random.randint(1, 65535), destination, random.randint(1, 65535))
    look = PacketSpec(kind, random.choice((0, 1, 40, 1400)), random.choice((0, SYN, ACK, 0xFF)))
    if kind == "tcp":
        look = look._replace(seq=random.getrandbits(32), ack=random.getrandbits(32), options=4 * random.randint(0, 10))
    return bytes_of(look, ends, random.randint(1, 65535))


def cut_off(random: Random, version: int) -> bytes:
    raw = sound(random, version)
    return raw[: random.randint(0, len(raw))]


def flipped(random: Random, version: int) -> bytes:
    """Some bytes at the beginning are others."""
    raw = bytearray(sound(random, version))
    for _ in range(random.randint(1, 8)):
        raw[random.randrange(min(80, len(raw)))] = random.getrandbits(8)
    return bytes(raw)


def lying(random: Random, version: int) -> bytes:
    """Lengths that are not its own: of the packet, of the IP header, of the TCP header."""
    raw = bytearray(sound(random, version))
    pack_into("!H", raw, 2 if version == 4 else 4, random.choice((0, 1, 19, 20, 39, len(raw) + 1, 0xFFFF)))
    if version == 4 and random.random() < 0.5:
        raw[0] = 0x40 | random.randint(0, min(15, len(raw) // 4))
    at = 32 if version == 4 else 52
    if at < len(raw):
        raw[at] = random.getrandbits(8)
    return bytes(raw)


def with_options(random: Random, version: int) -> bytes:
    """IPv4 options, or TCP options behind IPv6, of random bytes."""
    if version == 6:
        raw = bytearray(bytes_of(PacketSpec("tcp", 0, ACK, options=40), Ends(V6[0], 1, V6[1], 2), 1))
        raw[60:] = random.randbytes(40)
        return bytes(raw)
    words = random.randint(1, 10)
    raw = bytearray(sound(random, 4))
    raw[0] = 0x45 + words
    return bytes(raw[:20]) + random.randbytes(4 * words) + bytes(raw[20:])


def overlapping(random: Random, version: int) -> bytes:
    """A fragment; those of one run have the same identification, so that their ranges overlap."""
    offset, more = random.randint(0, 3), random.getrandbits(1)
    payload = random.randbytes(8 * random.randint(0, 4))
    if version == 4:
        raw = bytearray(bytes_of(PacketSpec("fragment", 0), Ends(V4[0], 0, V4[1], 0), 7))
        pack_into("!H", raw, 6, more << 13 | offset)
        return bytes(raw) + payload
    raw = bytearray(bytes_of(PacketSpec("fragment", 0), Ends(V6[0], 0, V6[1], 0), 7))
    pack_into("!H", raw, 42, offset << 3 | more)
    pack_into("!H", raw, 4, 8 + len(payload))
    return bytes(raw) + payload


def chained(random: Random, version: int) -> bytes:
    """IPv6 extension headers in a row, of any length they claim to have; behind IPv4 they are odd protocols."""
    chain = random.choices(EXTENSIONS, k=random.randint(1, 12))
    content = b"".join(
        pack("!BB", following, random.choice((0, 0, 0, 1, 255))) + random.randbytes(6)
        for following in (*chain[1:], random.choice((6, 17, 58, 255)))
    )
    return _around(content, chain[0], version)


def nested(random: Random, version: int) -> bytes:
    """IP in IP, several times."""
    inner, family = sound(random, version), version
    for _ in range(random.randint(1, 5)):
        outer = random.choice((4, 6)) if len(inner) < 1500 else version
        inner, family = _around(inner, IP_IN_IP if family == 4 else IPV6_IN_IP, outer), outer
    return _around(inner, IP_IN_IP if family == 4 else IPV6_IN_IP, version)


def unknown(random: Random, version: int) -> bytes:
    """Any protocol, with nothing, little or much in it."""
    size = random.choices((0, 1, 3, 19, 200, WHOLE - 40), (4, 4, 4, 4, 4, 1))[0]
    return _around(random.randbytes(size), random.choice((random.getrandbits(8), GRE, SCTP)), version)


def noise(random: Random, version: int) -> bytes:
    """Random bytes, of which the first says that they are IP, at times."""
    raw = random.randbytes(random.randint(0, 120))
    return bytes((version << 4 | 5,)) + raw if random.random() < 0.5 else raw


def _around(content: bytes, protocol: int, version: int) -> bytes:
    """An IP header before this content."""
    if version == 4:
        raw = bytearray(bytes_of(PacketSpec("other", 0), Ends(V4[0], 0, V4[1], 0), 9))
        raw[9] = protocol
        pack_into("!H", raw, 2, (20 + len(content)) % 65536)
    else:
        raw = bytearray(bytes_of(PacketSpec("other", 0), Ends(V6[0], 0, V6[1], 0), 9))
        raw[6] = protocol
        pack_into("!H", raw, 4, len(content) % 65536)
    return bytes(raw) + content


KINDS: tuple[Callable[[Random, int], bytes], ...] = (
    sound,
    cut_off,
    flipped,
    lying,
    with_options,
    overlapping,
    chained,
    nested,
    unknown,
    noise,
)


def junk(random: Random, version: int | None = None) -> bytes:
    """A piece of junk, of either family if none is given."""
    return random.choice(KINDS)(random, version or random.choice((4, 6)))
