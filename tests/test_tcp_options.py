"""TCP options are read as they stand, and TCP headers rewritten as scapy reads them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers import inet, inet6

from shaper import Packet, TruncatedPacket, tcp_options
from shaper.timeline.packet_spec import PacketSpec, bytes_of
from shaper.wire.checksum import put_right
from shaper.wire.header import ACK, FIN, PSH, SYN
from tests.test_craft import V4, checksums_are_right

MSS, WINDOW_SCALE, SACK_PERMITTED, TIMESTAMPS = 2, 3, 4, 8
ADDRESSES: dict[int, Any] = {
    4: inet.IP(src="192.0.2.1", dst="192.0.2.9"),
    6: inet6.IPv6(src="2001:db8::1", dst="2001:db8::9") / inet6.IPv6ExtHdrDestOpt(),
}
OPENING = [("MSS", 1460), ("SAckOK", b""), ("Timestamp", (1, 2)), ("NOP", None), ("WScale", 7)]


def segment(options: list[tuple[str, Any]] | None = None, *, payload: bytes = b"", version: int = 4) -> Packet:
    tcp = inet.TCP(sport=40000, dport=80, seq=7, ack=9, flags="A", window=512, options=options or [])
    return Packet(bytes(ADDRESSES[version] / tcp / payload), id=3, arrived=50)


def values(packet: Packet) -> dict[int, bytes]:
    return {kind: packet.raw[place] for kind, place in tcp_options(packet).items()}


@pytest.mark.parametrize("version", ADDRESSES)
def test_fields_are_changed_and_the_rest_stays(version: int) -> None:
    packet = segment(OPENING, payload=b"hello", version=version)
    packet.kind, packet.direction = "data", "reply"
    changed = packet.with_tcp(seq=1 << 32, ack=-1, flags=ACK | FIN, window=0)
    assert packet.tcp is not None
    assert changed.tcp == packet.tcp._replace(seq=0, ack=(1 << 32) - 1, flags=ACK | FIN, window=0)
    assert changed.raw.endswith(b"hello")
    assert values(changed) == values(packet)
    assert checksums_are_right(changed)
    assert (changed.root, changed.id, changed.kind, changed.direction) == (packet, 3, "data", "reply")


@pytest.mark.parametrize("version", ADDRESSES)
def test_another_payload_has_another_length(version: int) -> None:
    packet = segment(OPENING, payload=b"hello", version=version)
    for payload in (b"", b"hi", bytes(1200)):
        changed = packet.with_tcp(payload=payload)
        assert changed.length == len(changed.raw) == packet.length - 5 + len(payload)
        assert changed.tcp is not None
        assert changed.tcp.payload == len(payload)
        assert checksums_are_right(changed)


def test_an_option_gets_another_value_in_its_place() -> None:
    packet = segment(OPENING, payload=b"hello")
    changed = packet.with_tcp(options={MSS: (536).to_bytes(2)})
    assert changed.scapy()[inet.TCP].options == [("MSS", 536), *OPENING[1:]]
    assert changed.length == packet.length


def test_an_option_is_put_in() -> None:
    changed = segment([("Timestamp", (1, 2))], payload=b"hello").with_tcp(options={MSS: (536).to_bytes(2)})
    assert changed.scapy()[inet.TCP].options[:2] == [("MSS", 536), ("Timestamp", (1, 2))]
    assert bytes(changed.scapy()[inet.TCP].payload) == b"hello"
    assert checksums_are_right(changed)


def test_an_option_is_left_out() -> None:
    packet = segment(OPENING, payload=b"hello")
    changed = packet.with_tcp(options={TIMESTAMPS: None, SACK_PERMITTED: None, 99: None})
    assert values(changed) == {MSS: (1460).to_bytes(2), WINDOW_SCALE: b"\7"}
    assert changed.length == packet.length - 12
    assert bytes(changed.scapy()[inet.TCP].payload) == b"hello"
    assert checksums_are_right(changed)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"window": 65536}, "no room for"),
        ({"flags": -1}, "no room for"),
        ({"options": {1: b""}}, "no TCP option of kind 1"),
        ({"options": {256: b""}}, "no TCP option of kind 256"),
        ({"options": {99: bytes(39)}}, "with 39 bytes"),
        ({"options": {99: bytes(19), 98: bytes(18)}}, "40 bytes of options, not for 44"),
    ],
)
def test_what_does_not_fit_is_refused(fields: dict[str, Any], expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        segment().with_tcp(**fields)


def test_other_packets_have_no_tcp_header_to_change() -> None:
    with pytest.raises(ValueError, match="packet 1 has no TCP header"):
        Packet(bytes_of(PacketSpec("udp", 10), V4, 1), 1).with_tcp(window=0)
    with pytest.raises(TruncatedPacket):
        Packet(segment(payload=bytes(100)).raw[:60]).with_tcp(window=0)


def test_padding_of_the_link_does_not_become_payload() -> None:
    packet = Packet(segment(payload=b"hello").raw + bytes(6))
    assert packet.with_tcp(window=1).raw.endswith(b"hello")


known = st.fixed_dictionaries(
    {},
    optional={
        MSS: st.binary(min_size=2, max_size=2),
        WINDOW_SCALE: st.binary(min_size=1, max_size=1),
        SACK_PERMITTED: st.just(b""),
        TIMESTAMPS: st.binary(min_size=8, max_size=8),
        99: st.binary(max_size=10),
    },
)


@given(before=known, after=known, taken_out=st.sets(st.sampled_from((MSS, WINDOW_SCALE, TIMESTAMPS, 99))))
def test_options_are_what_they_were_and_what_was_asked_for(
    before: dict[int, bytes], after: dict[int, bytes], taken_out: set[int]
) -> None:
    packet = segment(payload=b"hello").with_tcp(options=before)
    assert values(packet) == before
    asked: dict[int, bytes | None] = {**after, **dict.fromkeys(taken_out)}
    expected = {kind: value for kind, value in {**before, **asked}.items() if value is not None}
    changed = packet.with_tcp(options=asked)
    assert values(changed) == expected
    assert changed.tcp is not None
    assert changed.tcp.payload == 5
    assert put_right(changed.raw) == changed.raw


@given(
    options=st.binary(max_size=40),
    seq=st.integers(0, (1 << 32) - 1),
    ack=st.integers(0, (1 << 32) - 1),
    flags=st.integers(0, 255),
    window=st.integers(0, 65535),
)
def test_whatever_the_options_hold_the_fields_are_changed(
    options: bytes, seq: int, ack: int, flags: int, window: int
) -> None:
    raw = bytearray(segment().raw + options + bytes(-len(options) % 4) + b"hello")
    raw[32] = 5 + (len(options) + 3) // 4 << 4
    packet = Packet(put_right(bytes(raw)))
    changed = packet.with_tcp(seq=seq, ack=ack, flags=flags, window=window)
    assert packet.tcp is not None
    assert changed.tcp == packet.tcp._replace(seq=seq, ack=ack, flags=flags, window=window)
    same = changed.with_tcp(**{name: getattr(packet.tcp, name) for name in ("seq", "ack", "flags", "window")})
    assert same.raw == packet.raw


@given(options=st.binary(max_size=40))
def test_no_bytes_make_the_reader_leave_the_header(options: bytes) -> None:
    raw = bytearray(segment().raw + options)
    raw[32] = 15 << 4
    for place in tcp_options(Packet(bytes(raw))).values():
        assert 42 <= place.start <= place.stop <= len(raw)


def test_a_segment_s_flags_are_all_eight() -> None:
    changed = segment().with_tcp(flags=SYN | PSH | 0xC0)
    assert changed.tcp is not None
    assert changed.tcp.flag_names == "SPEC"
