"""Junk through a real queue: all of it is delivered, byte for byte."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from random import Random
from struct import pack_into

import pytest

from shaper.wire.checksum import checksum
from shaper.wire.header import ICMPV6, read_ip
from tests.junk import V4, V6, junk
from tests.kernel.shaping import Shaper, widen

WHOLE = 100_000
AT_ONCE = 100
ETH_P_ALL, PACKET_OUTGOING = 3, 4  # linux/if_ether.h, packet(7)
NEIGHBOUR_DISCOVERY = {bytes((kind,)) for kind in range(133, 138)}  # RFC 4861
LONGEST = 1 << 17


class Wire:
    """Sends packets as they are, and sees what leaves through lo."""

    def __init__(self) -> None:
        self._tap = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL))
        widen(self._tap)
        self._tap.bind(("lo", ETH_P_ALL))
        self._tap.settimeout(20)
        self._raw = {
            version: socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW)
            for version, family in ((4, socket.AF_INET), (6, socket.AF_INET6))
        }

    def send(self, raw: bytes, version: int) -> bytes | None:
        """Send it; what leaves then, or None where the kernel itself refuses it or the rules never queue it."""
        ip = read_ip(raw)
        if ip.protocol == ICMPV6 and raw[ip.transport : ip.transport + 1] in NEIGHBOUR_DISCOVERY:
            return None
        if version == 4 and len(raw) > 20:
            # The kernel fills these in where they are zero.
            raw = raw[:4] + ((raw[4:6].strip(b"\0") and raw[4:6]) or b"\0\1") + raw[6:]
            raw = raw[:12] + ((raw[12:16].strip(b"\0") and raw[12:16]) or b"\x7f\0\0\1") + raw[16:]
        try:
            self._raw[version].sendto(raw, ((V4 if version == 4 else V6)[1], 0))
        except OSError:
            return None
        return as_sent(raw) if version == 4 else raw

    def seen(self) -> bytes:
        """The next packet that leaves."""
        while True:
            raw, (_, _, kind, *_) = self._tap.recvfrom(LONGEST)
            if kind == PACKET_OUTGOING:
                return raw

    def close(self) -> None:
        for each in (self._tap, *self._raw.values()):
            each.close()


def as_sent(raw: bytes) -> bytes:
    """Length and checksum as raw_send_hdrinc() in net/ipv4/raw.c puts them right, if the header has its length."""
    size = (raw[0] & 15) * 4
    if size < 20:
        return raw
    header = bytearray(raw[:size])
    pack_into("!H", header, 2, len(raw) & 0xFFFF)
    pack_into("!H", header, 10, 0)
    pack_into("!H", header, 10, checksum(bytes(header)))
    return bytes(header) + raw[size:]


@pytest.fixture
def wire(shell: Callable[[str], str]) -> Iterator[Wire]:
    # Nobody answers: what comes out is what went in. To some options of IPv6 the kernel answers before
    # it looks at its rules; of these answers no program is the owner.
    for command in ("iptables", "ip6tables"):
        shell(f"{command} -t mangle -A PREROUTING -j DROP; {command} -t raw -A OUTPUT -m owner ! --uid-owner 0 -j DROP")
    with closing(Wire()) as made:
        yield made


@pytest.mark.parametrize("policy", ["delay:1ms", "spread_burst:gap=10us"])
def test_through_the_live_queue(
    policy: str,
    tmp_path: Path,
    wire: Wire,
    count: Callable[[int], int],
    progress: Callable[[int, int], None],
    figure: Callable[[str, str], None],
) -> None:
    total, random = count(WHOLE) // 2, Random(f"junk on the wire for {policy}")
    sent = 0
    with Shaper(tmp_path, "--hook", "output", "--policy", policy) as shaper:
        while sent < total:
            expected: Counter[bytes] = Counter()
            for _ in range(AT_ONCE):
                version = random.choice((4, 6))
                raw = wire.send(junk(random, version), version)
                expected.update([raw] if raw is not None else [])
            for _ in range(expected.total()):
                raw = wire.seen()
                assert expected[raw] > 0, raw[:80].hex()
                expected[raw] -= 1
                sent += 1
            progress(sent, total)
        summary = shaper.stop()
    assert (summary["taken"], summary["sent"], summary["problems"]) == (sent, sent, [])
    assert shaper.status == 0
    figure(f"junk packets through the live queue and `{policy}`", f"{sent:,} of {sent:,} delivered byte for byte")
