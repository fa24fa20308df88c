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
from shaper.wire.header import (
    ACK,
    PSH,
    SYN,
    TCP,
    UDP,
    datagram_key,
    flow_key,
    is_answer,
    read_ip,
    read_ports,
    read_quoted,
    read_tcp,
    reverse_key,
)
from shaper.wire.packet import Packet
from tests.traffic import raws

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


def test_only_the_first_fragment_has_ports() -> None:
    datagram = inet.IP(id=5, **V4) / inet.UDP(**PORTS) / Raw(bytes(3000))
    first, *later = (bytes(part) for part in fragment(datagram, fragsize=1000))
    assert len(later) == 3
    assert all(read_ip(raw).fragment for raw in (first, *later))
    assert flow_key(first) == flow_key(bytes_of(inet.IP(**V4), inet.UDP(**PORTS)))
    assert Flow.of(first) == Flow("udp", V4["src"], 40000, V4["dst"], 80)
    assert len({flow_key(raw) for raw in later}) == 1
    assert {Flow.of(raw) for raw in later} == {Flow("udp", V4["src"], 0, V4["dst"], 0)}
    assert len({datagram_key(raw, read_ip(raw)) for raw in (first, *later)}) == 1


@pytest.mark.parametrize("with_options", [False, True])
def test_only_the_first_ipv6_fragment_has_ports_whatever_follows(with_options: bool) -> None:
    datagram = inet6.IPv6(**V6) / inet6.IPv6ExtHdrFragment(id=5)
    if with_options:
        datagram /= inet6.IPv6ExtHdrDestOpt()
    first, *later = (bytes(part) for part in fragment6(datagram / inet.UDP(**PORTS) / Raw(bytes(3000)), 1280))
    assert len(later) > 1
    assert all(read_ip(raw).fragment for raw in (first, *later))
    assert flow_key(first) == flow_key(bytes_of(inet6.IPv6(**V6), inet.UDP(**PORTS)))
    assert len({flow_key(raw) for raw in later}) == 1
    assert all(read_ip(raw).transport == -1 and read_ip(raw).header == 48 for raw in later)
    assert len({datagram_key(raw, read_ip(raw)) for raw in (first, *later)}) == 1


def test_a_fragment_header_of_a_whole_packet_makes_no_fragment() -> None:
    raw = bytes_of(inet6.IPv6(**V6), inet6.IPv6ExtHdrFragment(id=5), inet.TCP(flags="S", **PORTS))
    tcp = read_tcp(raw)
    assert tcp is not None
    assert not read_ip(raw).fragment
    assert Flow.of(raw) == Flow("tcp", V6["src"], 40000, V6["dst"], 80)


def icmp(kind: int, id: int, source: str, destination: str) -> bytes:
    """An ICMP or ICMPv6 message of this type, with an identifier where the type has one."""
    family = ip_address(source).version
    ends: dict[str, Any] = {"src": source, "dst": destination}
    ip = inet.IP(proto=1, **ends) if family == 4 else inet6.IPv6(nh=58, **ends)
    return bytes_of(ip, Raw(bytes((kind, 0, 0, 0)) + id.to_bytes(2) + bytes(42)))


QUERIES = [(4, 8, 0), (4, 13, 14), (4, 15, 16), (4, 17, 18), (4, 42, 43), (6, 128, 129), (6, 160, 161)]
LOOPBACK = {4: "127.0.0.1", 6: "::1"}
OTHERS = {4: "127.0.0.2", 6: "2001:db8::9"}


@given(st.sampled_from(QUERIES), st.integers(0, 65535), st.booleans())
def test_an_icmp_request_and_its_answer_have_each_others_reverse_key(
    query: tuple[int, int, int], id: int, is_one_address: bool
) -> None:
    family, asks, answers = query
    here = LOOPBACK[family]
    there = here if is_one_address else OTHERS[family]
    request, answer = icmp(asks, id, here, there), icmp(answers, id, there, here)
    assert flow_key(request) == reverse_key(flow_key(answer))
    assert flow_key(answer) == reverse_key(flow_key(request))
    assert flow_key(request) != flow_key(answer)
    assert (is_answer(flow_key(request)), is_answer(flow_key(answer))) == (False, True)
    assert flow_key(icmp(asks, id ^ 1, here, there)) != flow_key(request)
    for raw in (request, answer) if id else ():
        assert Flow.of(raw).key == flow_key(raw)
        assert Flow.parse(str(Flow.of(raw))) == Flow.of(raw)


def test_the_identifier_of_an_icmp_query_reads_as_the_port_of_the_end_that_asks() -> None:
    assert str(Flow.of(icmp(8, 7, "127.0.0.1", "127.0.0.1"))) == "icmp 127.0.0.1:7 > 127.0.0.1"
    assert str(Flow.of(icmp(0, 7, "127.0.0.1", "127.0.0.1"))) == "icmp 127.0.0.1 > 127.0.0.1:7"
    assert str(Flow.of(icmp(129, 7, "::1", "::1"))) == "icmp6 ::1 > [::1]:7"


@given(raws)
def test_the_reverse_of_the_reverse_is_the_key(raw: bytes) -> None:
    key = flow_key(raw)
    assert reverse_key(reverse_key(key)) == key
    assert len(reverse_key(key)) == len(key)


@pytest.mark.parametrize("family", [4, 6])
def test_a_port_like_the_mark_of_an_answer_makes_none(family: int) -> None:
    ip = inet.IP(**V4) if family == 4 else inet6.IPv6(**V6)
    assert not is_answer(flow_key(bytes_of(ip, inet.UDP(sport=0x2121, dport=0x2121))))


def test_icmp_errors_quote_a_packet_and_other_messages_none() -> None:
    cause = bytes_of(inet.IP(**V4), inet.UDP(**PORTS))
    for kind in range(256):
        raw = bytes_of(inet.IP(src=V4["dst"], dst=V4["src"], proto=1), Raw(bytes((kind, 0, 0, 0, 0, 0, 0, 0)) + cause))
        assert read_quoted(raw, read_ip(raw)) == (cause if kind in (3, 4, 5, 11, 12) else b"")
        raw = bytes_of(inet6.IPv6(nh=58, **V6), Raw(bytes((kind, 0, 0, 0, 0, 0, 0, 0)) + cause))
        assert read_quoted(raw, read_ip(raw)) == (cause if kind in (1, 2, 3, 4) else b"")


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
