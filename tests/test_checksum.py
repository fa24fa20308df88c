"""Checksums and lengths against scapy, an independent implementation."""

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers import inet, inet6
from scapy.packet import Raw

from shaper.wire.checksum import checksum, completed, put_right
from shaper.wire.packet import Packet, TruncatedPacket

# scapy leaves this without types.
fragment: Any = inet.fragment
V4 = inet.IP(src="192.0.2.1", dst="192.0.2.9")
V6 = inet6.IPv6(src="2001:db8::1", dst="2001:db8::9")
TRANSPORTS = {
    "tcp": inet.TCP(sport=1, dport=2, flags="PA", options=[("MSS", 1460)]),
    "udp": inet.UDP(sport=1, dport=2),
}
PACKETS = {
    **{f"{name} v4": V4 / layer for name, layer in TRANSPORTS.items()},
    **{f"{name} v6": V6 / layer for name, layer in TRANSPORTS.items()},
    **{f"{name} v6 extended": V6 / inet6.IPv6ExtHdrDestOpt() / layer for name, layer in TRANSPORTS.items()},
    "tcp v4 options": inet.IP(src="1.2.3.4", dst="5.6.7.8", options=[inet.IPOption_Router_Alert()]) / TRANSPORTS["tcp"],
    "icmp": V4 / inet.ICMP(id=7),
    "icmp6": V6 / inet6.ICMPv6EchoRequest(id=7),
    "other": V4.__class__(src="1.2.3.4", dst="5.6.7.8", proto=47),
}


@pytest.mark.parametrize("name", PACKETS)
@given(payload=st.binary(max_size=64))
def test_lengths_and_checksums_come_out_as_scapy_has_them(name: str, payload: bytes) -> None:
    right = bytes(PACKETS[name] / Raw(payload))
    assert put_right(right) == right
    wrong = bytearray(right)
    ip = Packet(right).ip
    if ip.version == 4:
        wrong[2:4], wrong[10:12] = b"\1\2", b"\3\4"
    else:
        wrong[4:6] = b"\1\2"
    at = {"tcp": 16, "udp": 6, "icm": 2}.get(name[:3])
    if at is not None:
        wrong[ip.transport + at : ip.transport + at + 2] = b"\5\6"
    if name.startswith("udp"):
        wrong[ip.transport + 4 : ip.transport + 6] = b"\7\x08"
    assert put_right(bytes(wrong)) == right


@given(st.binary(max_size=65))
def test_a_block_with_its_checksum_sums_up_to_nothing(data: bytes) -> None:
    even = data + b"\0" * (len(data) % 2)
    assert checksum(even + struct.pack("!H", checksum(even))) in (0, 0xFFFF)


def test_the_example_of_rfc_1071() -> None:
    assert checksum(bytes.fromhex("0001f203f4f5f6f7")) == 0xFFFF - 0xDDF2


def test_a_udp_checksum_of_zero_is_sent_as_all_ones() -> None:
    blank = bytes(V4 / inet.UDP(sport=1, dport=2) / Raw(b"\0\0"))
    sum_so_far = int.from_bytes(put_right(blank)[26:28])
    zero = put_right(blank[:-2] + sum_so_far.to_bytes(2))
    assert zero[26:28] == b"\xff\xff"


@given(st.binary(max_size=120))
def test_no_bytes_make_it_fail(raw: bytes) -> None:
    assert len(put_right(raw)) == len(raw)


def test_fragments_keep_their_transport_checksum() -> None:
    first, second = (bytes(part) for part in fragment(V4 / inet.UDP(sport=1, dport=2) / Raw(bytes(2000)), 1480))
    assert put_right(first) == first
    assert put_right(second) == second


def test_rewriting_keeps_what_the_core_knows_of_a_packet() -> None:
    raw = bytes(PACKETS["tcp v4"] / Raw(b"before"))
    packet = Packet(raw, id=3, arrived=5)
    packet.taken, packet.kind = 6, "data"
    changed = packet.with_raw(raw.replace(b"before", b"after!"))
    assert changed.raw == bytes(PACKETS["tcp v4"] / Raw(b"after!"))
    assert (changed.id, changed.arrived, changed.taken, changed.kind) == (3, 5, 6, "data")
    assert changed.root is packet
    assert packet.with_raw(b"anything", fix=False).raw == b"anything"


def test_scapy_layers_are_changed_and_put_right() -> None:
    packet = Packet(bytes(PACKETS["tcp v4"] / Raw(b"hello")), id=1)
    layers = packet.scapy()
    layers[inet.TCP].window = 77
    layers[inet.TCP].options = [("MSS", 536), ("NOP", None), ("NOP", None), ("Timestamp", (1, 2))]
    changed = packet.with_scapy(layers)
    assert changed.tcp is not None
    assert (changed.tcp.window, changed.tcp.payload) == (77, 5)
    again = inet.IP(changed.raw)
    assert again[inet.TCP].options[0] == ("MSS", 536)
    del again.chksum, again.len, again[inet.TCP].chksum
    assert bytes(again) == changed.raw


def test_what_was_cut_can_be_neither_rewritten_nor_copied() -> None:
    cut = Packet(bytes(PACKETS["udp v6"] / Raw(bytes(500)))[:128], id=9)
    for act in (cut.copy, lambda: cut.with_raw(cut.raw), lambda: cut.with_scapy(cut.scapy())):
        with pytest.raises(TruncatedPacket, match="has 548 bytes and 128 were copied, so it can't be"):
            act()


def test_of_nothing_and_of_all_ones() -> None:
    assert checksum(b"") == checksum(bytes(4)) == 0xFFFF
    assert checksum(b"\xff\xff") == checksum(b"\xff\xff\xff\xff") == 0


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("network", [V4, V6], ids=["v4", "v6"])
def test_a_packet_of_40_000_bytes(network: Any, transport: str) -> None:
    right = bytes(network / TRANSPORTS[transport] / Raw(bytes(40_000)))
    wrong = bytearray(right)
    wrong[4 if network is V6 else 2] ^= 0xFF
    assert put_right(bytes(wrong)) == right


@pytest.mark.parametrize(("what", "change"), [("rewritten", Packet.with_tcp), ("copied", Packet.copy)])
def test_a_cut_packet_says_what_it_cannot_be_and_what_to_do(what: str, change: Any) -> None:
    cut = Packet(bytes(V4 / TRANSPORTS["tcp"] / Raw(bytes(100)))[:60], id=3)
    with pytest.raises(
        TruncatedPacket, match=rf"packet 3 .* so it can't be {what}: set needs = \"packet\" in the policy"
    ):
        change(cut)
    with pytest.raises(TruncatedPacket, match="can't be rewritten"):
        cut.with_raw(cut.raw)


def test_what_is_no_ip_packet_is_raw_to_scapy() -> None:
    assert isinstance(Packet(b"\x00junk").scapy(), Raw)


@pytest.mark.parametrize("name", [name for name in PACKETS if name[:3] in TRANSPORTS])
@given(payload=st.binary(max_size=64))
def test_a_checksum_that_was_left_to_the_device(name: str, payload: bytes) -> None:
    right = bytes(PACKETS[name] / Raw(payload))
    assert completed(right) == right
    ip = Packet(right).ip
    at = ip.transport + {"tcp": 16, "udp": 6}[name[:3]]
    pseudo = ip.source + ip.destination + (len(right) - ip.transport).to_bytes(2) + ip.protocol.to_bytes(2)
    left = right[:at] + (0xFFFF - checksum(pseudo)).to_bytes(2) + right[at + 2 :]
    assert completed(left) == right
