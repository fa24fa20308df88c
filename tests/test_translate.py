"""Packets with other addresses, as NAT makes them, against scapy's checksums."""

from __future__ import annotations

from ipaddress import ip_address
from struct import pack_into

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shaper.wire.checksum import OFFSETS, put_right
from shaper.wire.header import ICMP, ICMPV6, UDP, read_ip
from shaper.wire.translate import ConnTuple, readdressed
from tests.test_checksum import PACKETS
from tests.traffic import raws

addresses = {4: st.binary(min_size=4, max_size=4), 6: st.binary(min_size=16, max_size=16)}
ports = st.integers(0, 65535)
WITH_TUPLE = {name: bytes(layers) for name, layers in PACKETS.items()}


@st.composite
def tuples_like(draw: st.DrawFn, seen: ConnTuple) -> ConnTuple:
    """A tuple that NAT might give a packet with this one."""
    source, destination = (draw(addresses[4 if len(seen.source) == 4 else 6]) for _ in range(2))
    if not seen.sport and not seen.dport:
        return ConnTuple(seen.protocol, source, 0, destination, 0)
    dport = seen.dport if seen.protocol in (ICMP, ICMPV6) else draw(ports)
    return ConnTuple(seen.protocol, source, draw(ports), destination, dport)


@pytest.mark.parametrize("name", WITH_TUPLE)
@given(data=st.data())
def test_a_packet_gets_a_tuple_and_keeps_right_checksums(name: str, data: st.DataObject) -> None:
    raw = WITH_TUPLE[name]
    seen = ConnTuple.of(raw)
    assert seen is not None
    to = data.draw(tuples_like(seen))
    changed = readdressed(raw, to)
    assert ConnTuple.of(changed) == to
    # 0xFFFF and 0 are the same number to a checksum.
    assert changed.replace(b"\xff\xff", b"\0\0") == put_right(changed).replace(b"\xff\xff", b"\0\0")
    assert readdressed(changed, seen).replace(b"\xff\xff", b"\0\0") == raw.replace(b"\xff\xff", b"\0\0")


@pytest.mark.parametrize("name", [name for name in WITH_TUPLE if name != "other"])
@given(data=st.data(), wrong=ports)
def test_a_wrong_checksum_stays_as_wrong(name: str, data: st.DataObject, wrong: int) -> None:
    raw = bytearray(WITH_TUPLE[name])
    ip = read_ip(bytes(raw))
    at = ip.transport + OFFSETS[ip.protocol]
    right = int.from_bytes(raw[at : at + 2])
    pack_into("!H", raw, at, wrong)
    seen = ConnTuple.of(bytes(raw))
    assert seen is not None
    changed = readdressed(bytes(raw), data.draw(tuples_like(seen)))
    after = int.from_bytes(changed[at : at + 2])
    if ip.protocol == UDP and not wrong:
        assert after == 0  # the sender left it out
    else:
        assert (after - int.from_bytes(put_right(changed)[at : at + 2])) % 0xFFFF == (wrong - right) % 0xFFFF


@given(raw=raws)
def test_what_answers_an_answer_is_of_the_same_direction(raw: bytes) -> None:
    seen = ConnTuple.of(raw)
    if seen is not None:
        assert seen.inverse.inverse == seen
        assert (seen.inverse.source, seen.inverse.destination) == (seen.destination, seen.source)
        assert readdressed(raw, seen).replace(b"\xff\xff", b"\0\0") == raw.replace(b"\xff\xff", b"\0\0")


def test_ping_is_known_by_its_identifier() -> None:
    request, reply = bytes((8, 0, 0, 0, 0, 7, 0, 1)), bytes((0, 0, 0, 0, 0, 7, 0, 1))
    one, other = ip_address("192.0.2.1").packed, ip_address("192.0.2.9").packed
    head = bytes((0x45, 0, 0, 28, 0, 0, 0, 0, 64, ICMP, 0, 0))
    asked, answered = ConnTuple.of(head + one + other + request), ConnTuple.of(head + other + one + reply)
    assert asked == ConnTuple(ICMP, one, 7, other, 8 << 8)
    assert answered == asked.inverse


def test_errors_and_fragments_have_none() -> None:
    unreachable = bytes((0x45, 0, 0, 28, 0, 0, 0, 0, 64, ICMP, 0, 0, *bytes(8), 3, 1, *bytes(6)))
    assert ConnTuple.of(unreachable) is None
    fragment = bytes((0x45, 0, 0, 28, 0, 0, 0x20, 0, 64, UDP, 0, 0, *bytes(16)))
    assert ConnTuple.of(fragment) is None
    assert ConnTuple.of(b"") is None
