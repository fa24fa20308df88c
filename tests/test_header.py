"""IP and TCP headers as scapy builds them, and bytes that are none."""

from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers import inet, inet6
from scapy.packet import Packet as Layers
from scapy.packet import Raw

from shaper.wire.flow import Flow, format_end, parse_end
from shaper.wire.header import ACK, PSH, SYN, TCP, UDP, flow_key, read_ip, read_ports, read_tcp
from shaper.wire.packet import Packet

V4: dict[str, Any] = {"src": "192.0.2.1", "dst": "192.0.2.9"}
V6: dict[str, Any] = {"src": "2001:db8::1", "dst": "2001:db8::9"}
PORTS: dict[str, Any] = {"sport": 40000, "dport": 80}
# scapy leaves these without types.
fragment: Any = inet.fragment
fragment6: Any = inet6.fragment6
ROUTER_ALERT = inet.IPOption_Router_Alert()

UNFRAGMENTED = {
    "plain v4": inet.IP(**V4),
    "v4 with options": inet.IP(options=[ROUTER_ALERT], **V4),
    "v4 don't fragment": inet.IP(flags="DF", **V4),
    "plain v6": inet6.IPv6(**V6),
    "v6 hop by hop": inet6.IPv6(**V6) / inet6.IPv6ExtHdrHopByHop(),
    "v6 destination options": inet6.IPv6(**V6) / inet6.IPv6ExtHdrDestOpt(),
    "v6 chain": inet6.IPv6(**V6)
    / inet6.IPv6ExtHdrHopByHop()
    / inet6.IPv6ExtHdrRouting(addresses=[])
    / inet6.IPv6ExtHdrDestOpt(),
}


def bytes_of(*layers: Layers) -> bytes:
    whole = layers[0]
    for layer in layers[1:]:
        whole = whole / layer
    return bytes(whole)


@pytest.mark.parametrize("name", UNFRAGMENTED)
def test_tcp_behind_every_kind_of_ip_header(name: str) -> None:
    ip = UNFRAGMENTED[name]
    options = [("NOP", None), ("NOP", None), ("Timestamp", (1, 2))]
    segment = inet.TCP(seq=7, ack=9, flags="PA", window=512, options=options, **PORTS)
    raw = bytes_of(ip, segment, Raw(b"hello"))
    header = read_ip(raw)
    tcp = read_tcp(raw)
    assert (header.version, header.protocol, header.length) == (ip.version, TCP, len(raw))
    assert str(ip_address(header.source)) == ip.src
    assert str(ip_address(header.destination)) == ip.dst
    assert tcp is not None
    assert (tcp.sport, tcp.dport, tcp.seq, tcp.ack, tcp.flags) == (40000, 80, 7, 9, PSH | ACK)
    assert (tcp.window, tcp.payload, tcp.sack, tcp.flag_names) == (512, 5, False, "PA")
    assert Flow.of(raw) == Flow("tcp", ip.src, 40000, ip.dst, 80)


@pytest.mark.parametrize("name", UNFRAGMENTED)
def test_udp_ports_and_flow_key_do_not_depend_on_extensions(name: str) -> None:
    ip = UNFRAGMENTED[name]
    raw = bytes_of(ip, inet.UDP(**PORTS), Raw(b"x"))
    plain = bytes_of(inet.IP(**V4) if ip.version == 4 else inet6.IPv6(**V6), inet.UDP(**PORTS), Raw(b"x"))
    other = bytes_of(ip, inet.UDP(sport=40001, dport=80), Raw(b"x"))
    assert read_ports(raw, read_ip(raw)) == (40000, 80)
    assert flow_key(raw) == flow_key(plain)
    assert flow_key(raw) != flow_key(other)


def test_sack_blocks_are_seen_among_other_options() -> None:
    ip = inet.IP(**V4)
    with_sack = bytes_of(ip, inet.TCP(flags="A", options=[("NOP", None), ("NOP", None), ("SAck", (1, 5))], **PORTS))
    permitted = bytes_of(ip, inet.TCP(flags="S", options=[("MSS", 1460), ("SAckOK", b"")], **PORTS))
    hidden = bytes_of(ip, inet.TCP(flags="A", options=[("EOL", None), ("SAck", (1, 5))], **PORTS))
    for raw, sack in ((with_sack, True), (permitted, False), (hidden, False)):
        tcp = read_tcp(raw)
        assert tcp is not None
        assert tcp.sack is sack


def test_fragments_share_a_key_without_ports() -> None:
    datagram = inet.IP(id=5, **V4) / inet.UDP(**PORTS) / Raw(bytes(3000))
    fragments = [bytes(part) for part in fragment(datagram, fragsize=1000)]
    assert len(fragments) == 4
    assert len({flow_key(raw) for raw in fragments}) == 1
    assert all(read_ip(raw).fragment for raw in fragments)
    assert {Flow.of(raw) for raw in fragments} == {Flow("udp", V4["src"], 0, V4["dst"], 0)}


@pytest.mark.parametrize("with_options", [False, True])
def test_ipv6_fragments_share_a_key_whatever_follows(with_options: bool) -> None:
    datagram = inet6.IPv6(**V6) / inet6.IPv6ExtHdrFragment(id=5)
    if with_options:
        datagram /= inet6.IPv6ExtHdrDestOpt()
    fragments = [bytes(part) for part in fragment6(datagram / inet.UDP(**PORTS) / Raw(bytes(3000)), 1280)]
    assert len(fragments) > 2
    assert len({flow_key(raw) for raw in fragments}) == 1
    assert all(read_ip(raw).fragment for raw in fragments)
    assert all(read_tcp(raw) is None for raw in fragments)


def test_a_fragment_of_tcp_has_no_tcp_header() -> None:
    segment = inet.IP(id=5, **V4) / inet.TCP(flags="S", **PORTS) / Raw(bytes(2000))
    for part in fragment(segment, fragsize=1000):
        assert read_tcp(bytes(part)) is None


@pytest.mark.parametrize(
    ("offset", "value"),
    [(0, 0x44), (0, 0x4F), (2, 0), (3, 10), (32, 0x40), (32, 0xF0)],
    ids=["ihl 4", "ihl 15", "no length", "length 10", "data offset 4", "data offset 15"],
)
def test_lying_lengths_are_taken_for_what_they_say_and_no_more(offset: int, value: int) -> None:
    raw = bytearray(bytes_of(inet.IP(**V4), inet.TCP(flags="A", seq=1, **PORTS)))
    raw[offset] = value
    if offset == 2:
        raw[3] = 0
    packet = Packet(bytes(raw))
    assert packet.tcp is None or packet.tcp.payload == 0
    assert packet.length in (40, 10)


def test_padding_behind_the_packet_is_no_payload() -> None:
    raw = bytes_of(inet.IP(**V4), inet.TCP(flags="A", **PORTS)) + bytes(6)
    tcp = read_tcp(raw)
    assert tcp is not None
    assert tcp.payload == 0


def test_payload_counts_what_was_not_copied() -> None:
    raw = bytes_of(inet.IP(**V4), inet.TCP(flags="A", **PORTS), Raw(bytes(1000)))
    packet = Packet(raw[:60])
    assert packet.tcp is not None
    assert (packet.tcp.payload, packet.length, packet.truncated) == (1000, 1040, True)


def test_icmp_has_no_ports() -> None:
    raw = bytes_of(inet.IP(**V4), inet.ICMP(), Raw(b"ping"))
    assert Flow.of(raw) == Flow("icmp", V4["src"], 0, V4["dst"], 0)
    assert str(Flow.of(raw)) == "icmp 192.0.2.1 > 192.0.2.9"


def test_a_flow_reads_as_tools_write_it() -> None:
    assert str(Flow.of(bytes_of(inet.IP(**V4), inet.UDP(**PORTS)))) == "udp 192.0.2.1:40000 > 192.0.2.9:80"
    assert str(Flow.of(bytes_of(inet6.IPv6(**V6), inet.UDP(**PORTS)))) == ("udp [2001:db8::1]:40000 > [2001:db8::9]:80")


@pytest.mark.parametrize("text", ["192.0.2.1", "192.0.2.1:80", "2001:db8::1", "[2001:db8::1]:65535"])
def test_an_end_of_a_flow_can_be_read_again(text: str) -> None:
    assert format_end(*parse_end(text)) == text


@pytest.mark.parametrize(
    "text", ["", "192.0.2", "192.0.2.1:", "192.0.2.1:65536", "192.0.2.1:-1", "host:80", "[2001:db8::1]", "[::1:80"]
)
def test_what_is_no_end_of_a_flow(text: str) -> None:
    with pytest.raises(ValueError, match="is not ADDRESS, ADDRESS:PORT or"):
        parse_end(text)


junk = st.one_of(
    st.binary(max_size=120),
    # What looks like the beginning of a packet goes further into the reader.
    st.builds(
        lambda start, rest: bytes((start,)) + rest, st.sampled_from((0x45, 0x46, 0x4F, 0x60)), st.binary(max_size=120)
    ),
    st.builds(
        lambda next_header, chain: b"\x60\0\0\0\0\x20" + bytes((next_header,)) + bytes(33) + chain,
        st.sampled_from((0, 43, 44, 51, 60, TCP, UDP)),
        st.lists(
            st.builds(
                lambda kind, size, rest: bytes((kind, size)) + rest,
                st.sampled_from((0, 43, 44, 51, 60, TCP, UDP)),
                st.integers(0, 255),
                st.binary(min_size=6, max_size=6),
            )
        ).map(b"".join),
    ),
)


@given(junk)
def test_no_bytes_make_the_reader_fail(raw: bytes) -> None:
    packet = Packet(raw)
    assert packet.ip.version in (0, 4, 6)
    assert packet.ip.transport < max(1, len(raw))
    assert packet.length >= 0
    assert packet.tcp is None or len(raw) >= 40
    assert isinstance(flow_key(raw), bytes)
    assert str(packet.flow)
    assert repr(packet)
    assert packet.truncated == (len(raw) < packet.length)


def test_flags_have_their_names() -> None:
    raw = bytes_of(inet.IP(**V4), inet.TCP(flags="SA", **PORTS))
    tcp = read_tcp(raw)
    assert tcp is not None
    assert tcp.flags == SYN | ACK
    assert tcp.flag_names == "SA"
