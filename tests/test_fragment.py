"""Fragments are put together again by scapy, an independent implementation."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers import inet, inet6
from scapy.packet import Raw

from shaper.wire.checksum import checksum
from shaper.wire.fragment import fragments
from shaper.wire.header import read_ip

# scapy leaves these without types.
defragment: Any = inet.defragment
defragment6: Any = inet6.defragment6

UDP = inet.UDP(sport=1, dport=2)
COPIED = inet.IPOption_Router_Alert()  # its type has the bit 128
ONCE = inet.IPOption_Timestamp()
V4 = {
    "plain": inet.IP(src="192.0.2.1", dst="192.0.2.9", id=7, flags="DF", tos=3, ttl=9),
    "copied option": inet.IP(src="192.0.2.1", dst="192.0.2.9", id=7, options=[COPIED]),
    "both options": inet.IP(src="192.0.2.1", dst="192.0.2.9", id=7, options=[ONCE, COPIED]),
}
START = inet6.IPv6(src="2001:db8::1", dst="2001:db8::9", tc=3, hlim=9)
HOPS, SEGMENTS = inet6.IPv6ExtHdrHopByHop(), inet6.IPv6ExtHdrRouting(addresses=["2001:db8::5"])
DESTINATION = inet6.IPv6ExtHdrDestOpt()
V6 = {
    "plain": START,
    "hop by hop": START / HOPS,
    "routing": START / HOPS / DESTINATION / SEGMENTS,
    "for the destination": START / DESTINATION,
}
sizes = st.integers(0, 5000)


def whole(layers: Any, size: int) -> bytes:
    return bytes(layers / UDP / Raw(bytes(number % 251 for number in range(size))))


@pytest.mark.parametrize("name", V4)
@given(size=sizes, mtu=st.integers(120, 1500), again=st.integers(120, 1500))
def test_ipv4(name: str, size: int, mtu: int, again: int) -> None:
    raw = whole(V4[name], size)
    # Routers on the way may fragment fragments.
    pieces = [piece for first in fragments(raw, mtu, 77) for piece in fragments(first, again, 78)]
    assert all(len(piece) <= min(mtu, again) and read_ip(piece).length == len(piece) for piece in pieces)
    assert all(checksum(piece[: (piece[0] & 15) * 4]) == 0 for piece in pieces)
    if len(pieces) == 1:
        assert pieces == [raw]
        return
    (made,) = defragment([inet.IP(piece) for piece in pieces])
    before = inet.IP(raw)
    assert bytes(made.payload) == bytes(before.payload)
    assert (made.id, made.src, made.dst, made.proto, made.tos, made.ttl) == (
        77 if len(raw) > mtu else 78,
        before.src,
        before.dst,
        before.proto,
        before.tos,
        before.ttl,
    )
    assert bytes(inet.IP(pieces[0]).options[0]) == bytes(before.options[0]) if before.options else True
    kept = [bytes(option) for option in before.options if option.copy_flag]
    assert all([bytes(option) for option in inet.IP(piece).options][: len(kept)] == kept for piece in pieces[1:])


@pytest.mark.parametrize("name", V6)
@given(size=sizes, mtu=st.integers(200, 1500), again=st.integers(200, 1500))
def test_ipv6(name: str, size: int, mtu: int, again: int) -> None:
    raw = whole(V6[name], size)
    pieces = [piece for first in fragments(raw, mtu, 1 << 31 | 7) for piece in fragments(first, again, 8)]
    assert all(len(piece) <= min(mtu, again) and read_ip(piece).length == len(piece) for piece in pieces)
    if len(pieces) == 1:
        assert pieces == [raw]
        return
    made = defragment6([inet6.IPv6(piece) for piece in pieces])
    made.plen = None
    assert bytes(made) == raw
    for piece in pieces:
        # What each router on the way reads is in each fragment, and not the rest.
        layers = inet6.IPv6(piece)
        assert layers.haslayer(inet6.IPv6ExtHdrHopByHop) == V6[name].haslayer(inet6.IPv6ExtHdrHopByHop)
        assert layers.haslayer(inet6.IPv6ExtHdrRouting) == V6[name].haslayer(inet6.IPv6ExtHdrRouting)


@given(size=sizes, mtu=st.integers(68, 1500))
def test_a_packet_that_fits_stays_whole(size: int, mtu: int) -> None:
    raw = whole(V4["plain"], size)
    assert (fragments(raw, mtu, 1) == [raw]) == (len(raw) <= mtu)
