"""Packets that policies make are what scapy, too, takes them for."""

from pathlib import Path

import pytest
from scapy.layers.inet import ICMP, IP, TCP
from scapy.layers.inet6 import ICMPv6PacketTooBig, IPv6
from scapy.packet import Raw
from scapy.utils import RawPcapReader

from shaper import Packet, may_report, reset_receiver, reset_sender, s, tcp_options, too_big
from shaper.spec.load import load
from shaper.timeline.packet_spec import Ends, PacketSpec, bytes_of
from shaper.wire.header import ACK, FIN, PSH, RST, SYN
from tests.any_options import play

V4 = Ends("192.0.2.1", 40000, "192.0.2.9", 80)
V6 = Ends("2001:db8::1", 40000, "2001:db8::9", 80)


def segment(flags: int, *, payload: int = 0, seq: int = 5, ack: int = 9, ends: Ends = V4, mss: int = 0) -> Packet:
    return Packet(bytes_of(PacketSpec("tcp", payload, flags, seq, ack, mss=mss, options=4 * bool(mss)), ends, 1), id=1)


def checksums_are_right(packet: Packet) -> bool:
    layers = packet.scapy()
    for layer in layers.iterpayloads():
        for field in {"chksum", "cksum", "len", "plen"} & set(layer.fields):
            if "in ICMP" not in str(layer.name):
                delattr(layer, field)
    return bytes(layers) == packet.raw


@pytest.mark.parametrize("ends", [V4, V6])
def test_a_reset_for_the_receiver_has_the_segment_s_own_number(ends: Ends) -> None:
    reset = reset_receiver(segment(ACK | PSH, payload=10, ends=ends))
    assert reset is not None
    assert reset.tcp is not None
    assert (reset.tcp.seq, reset.tcp.ack, reset.tcp.flags, reset.tcp.payload) == (5, 9, RST | ACK, 0)
    assert reset.flow == segment(ACK, ends=ends).flow
    assert checksums_are_right(reset)


@pytest.mark.parametrize(
    ("flags", "payload", "seq", "expected"),
    [
        (ACK, 10, 5, (9, 15)),
        (ACK | FIN, 10, 5, (9, 16)),
        (SYN, 0, 5, (0, 6)),
        (ACK, 10, 4294967290, (9, 4)),
    ],
)
def test_a_reset_for_the_sender_answers(flags: int, payload: int, seq: int, expected: tuple[int, int]) -> None:
    reset = reset_sender(segment(flags, payload=payload, seq=seq))
    assert reset is not None
    assert reset.tcp is not None
    assert (reset.tcp.seq, reset.tcp.ack) == expected
    assert reset.tcp.flags == RST | ACK
    assert (reset.flow.source, reset.flow.sport, reset.flow.dport) == ("192.0.2.9", 80, 40000)
    assert checksums_are_right(reset)


def test_a_reset_is_not_answered_by_one() -> None:
    assert reset_sender(segment(RST)) is None
    udp = Packet(bytes_of(PacketSpec("udp", 10), V4, 1))
    assert reset_sender(udp) is None
    assert reset_receiver(udp) is None


def test_fragmentation_needed() -> None:
    packet = segment(ACK, payload=1400)
    message = too_big(packet, 1000)
    assert message is not None
    assert checksums_are_right(message)
    layers = message.scapy()
    assert (layers[IP].src, layers[IP].dst) == ("192.0.2.9", "192.0.2.1")
    assert (layers[ICMP].type, layers[ICMP].code, layers[ICMP].nexthopmtu) == (3, 4, 1000)
    assert message.raw[28:] == packet.raw[:548]
    assert message.length == 576


def test_packet_too_big() -> None:
    packet = segment(ACK, payload=1400, ends=V6)
    message = too_big(packet, 1300)
    assert message is not None
    assert checksums_are_right(message)
    layers = message.scapy()
    assert layers[IPv6].dst == "2001:db8::1"
    assert layers[ICMPv6PacketTooBig].mtu == 1300
    assert message.length == 1280


def test_tcp_options_are_found() -> None:
    packet = segment(SYN, mss=1460)
    assert packet.raw[tcp_options(packet)[2]] == (1460).to_bytes(2)
    layers = packet.scapy()
    layers[TCP].options = [("NOP", None), ("WScale", 7), ("MSS", 1400)]
    other = packet.with_scapy(layers)
    assert other.raw[tcp_options(other)[3]] == b"\7"
    assert other.raw[tcp_options(other)[2]] == (1400).to_bytes(2)
    assert tcp_options(Packet(bytes_of(PacketSpec("udp", 10), V4, 1))) == {}


@pytest.mark.parametrize(
    ("options", "found"),
    [
        (b"\2\4\5", {2: b"\5\1"}),
        (b"\4\2\2\0", {4: b""}),
        (b"\4\2\2\3", {4: b""}),
        (b"\2\0\0\0", {}),
        (b"\3\1\0\0", {}),
        (b"\2\x28\0\0", {}),
        (b"\2", {}),
    ],
)
def test_broken_tcp_options_end_the_search(options: bytes, found: dict[int, bytes]) -> None:
    raw = bytearray(segment(SYN).raw + options.ljust(4, b"\1"))
    raw[32] = 6 << 4
    assert {kind: raw[where] for kind, where in tcp_options(Packet(bytes(raw))).items()} == found


def scaled(flags: int, window: int, scale: int | None) -> Packet:
    packet = segment(flags)
    layers = packet.scapy()
    layers[TCP].window = window
    layers[TCP].options = [] if scale is None else [("WScale", scale)]
    changed = packet.with_scapy(layers)
    return Packet(changed.raw, id=1)


@pytest.mark.parametrize(("scale", "expected"), [(0, 1000), (3, 125), (7, 7), (10, 1), (None, 1000), (200, 1)])
def test_a_window_is_shrunk_by_its_scale(scale: int | None, expected: int) -> None:
    """The SYN's own window is unscaled; 14 is the largest scale there is (RFC 7323)."""
    core, verdicts = play(load("window:size=1000"), [scaled(SYN, 64240, scale), scaled(ACK, 65535, None)])
    first, second = (verdict.packet for verdict in verdicts)
    assert first.tcp is not None
    assert second.tcp is not None
    assert (first.tcp.window, second.tcp.window) == (1000, expected)
    assert checksums_are_right(second)
    assert core.counters == ({"window": {"rounded_up": 1}} if expected << (scale or 0) > 1000 else {})


@pytest.mark.parametrize(("size", "expected"), [(0, 0), (1, 1), (127, 1), (128, 1), (255, 1), (256, 2), (4096, 4)])
def test_a_window_is_zero_only_if_that_was_asked_for(size: int, expected: int) -> None:
    """It is never raised either: the second segment's is 4 units of 128 bytes."""
    _, verdicts = play(load(f"window:size={size}"), [scaled(SYN, 64240, 7), scaled(ACK, 4, None)])
    assert verdicts[1].packet.tcp is not None
    assert verdicts[1].packet.tcp.window == expected


def test_a_window_whose_scale_is_unknown_is_counted() -> None:
    core, _ = play(load("window:size=1000,only=pure-ack"), [scaled(SYN, 64240, 7), scaled(ACK, 4000, None)])
    assert core.counters == {"window": {"scale_unknown": 1}}


def test_slices_make_up_the_segment_again() -> None:
    packet = segment(ACK | PSH | FIN, payload=1000, seq=4294967000)
    _, verdicts = play(load("slicer:size=300"), [packet])
    pieces = [verdict.packet for verdict in verdicts]
    expected = 4294967000
    data = b""
    for piece in pieces:
        assert piece.tcp is not None
        assert piece.tcp.seq == expected % (1 << 32)
        assert bool(piece.tcp.flags & FIN) == bool(piece.tcp.flags & PSH) == (piece is pieces[-1])
        assert checksums_are_right(piece)
        expected += piece.tcp.payload
        data += piece.raw[40:]
    assert data == packet.raw[40:]


@pytest.mark.parametrize("spec", ["slicer:size=10", "mss:size=100", "window:size=0", "corrupt:100%", "duplicate:100%"])
def test_packets_that_were_not_copied_whole_go_on_unchanged(spec: str) -> None:
    packet = Packet(segment(SYN, payload=1000, mss=1460).raw[:128], id=1)
    core, verdicts = play(load(spec), [packet])
    assert core.failures == []
    assert [(verdict.fate, verdict.rewritten) for verdict in verdicts] == [("sent", False)]


@pytest.mark.parametrize("mtu", [1280, 40_000])
def test_fragmentation_needed_is_what_scapy_makes_of_it(mtu: int) -> None:
    packet = segment(ACK | PSH, payload=1000)
    message = too_big(packet, mtu)
    assert message is not None
    quoted = IP(src=V4.destination, dst=V4.source, id=0, flags="DF") / ICMP(type=3, code=4, nexthopmtu=mtu)
    assert message.raw == bytes(quoted / Raw(packet.raw[:548]))


def test_an_mtu_that_the_field_has_no_room_for_is_the_largest() -> None:
    message = too_big(segment(ACK), 70_000)
    assert message is not None
    assert message.scapy()[ICMP].nexthopmtu == 65535


def test_packet_too_big_is_what_scapy_makes_of_it() -> None:
    packet = segment(ACK | PSH, payload=1400, ends=V6)
    message = too_big(packet, 1280)
    assert message is not None
    quoted = IPv6(src=V6.destination, dst=V6.source) / ICMPv6PacketTooBig(mtu=1280)
    assert message.raw == bytes(quoted / Raw(packet.raw[:1232]))


@pytest.mark.parametrize("flags", [SYN, RST | ACK])
def test_a_reset_is_what_scapy_makes_of_it(flags: int) -> None:
    reset = reset_receiver(segment(flags, seq=5, ack=9))
    assert reset is not None
    tcp = TCP(sport=V4.sport, dport=V4.dport, seq=5, ack=9 if flags & ACK else 0, flags=RST | flags & ACK, window=0)
    assert reset.raw == bytes(IP(src=V4.source, dst=V4.destination, id=0, flags="DF") / tcp)


def test_other_packets_have_no_tcp_options() -> None:
    assert tcp_options(Packet(bytes_of(PacketSpec("udp", 40), V4, 1))) == {}


@pytest.mark.parametrize(
    ("source", "destination", "expected"),
    [
        ("192.0.2.1", "192.0.2.9", True),
        ("192.0.2.1", "192.0.2.255", True),  # whether this is a broadcast depends on the netmask
        ("127.0.0.1", "127.0.0.1", True),
        ("169.254.1.2", "169.254.1.3", True),
        ("2001:db8::1", "2001:db8::9", True),
        ("fe80::1", "fe80::2", True),
        ("::1", "::1", True),
        ("0.0.0.0", "192.0.2.9", False),
        ("0.0.0.7", "192.0.2.9", False),
        ("224.0.0.1", "192.0.2.9", False),
        ("240.0.0.1", "192.0.2.9", False),
        ("255.255.255.255", "192.0.2.9", False),
        ("127.0.0.1", "192.0.2.9", False),
        ("192.0.2.1", "127.0.0.1", False),
        ("192.0.2.1", "224.0.0.251", False),
        ("192.0.2.1", "239.255.255.250", False),
        ("192.0.2.1", "255.255.255.255", False),
        ("192.0.2.1", "0.0.0.0", False),
        ("127.0.0.1", "127.255.255.255", False),
        ("169.254.1.2", "169.254.255.255", False),
        ("::", "2001:db8::9", False),
        ("ff02::1", "2001:db8::9", False),
        ("::1", "2001:db8::9", False),
        ("2001:db8::1", "ff02::fb", False),
        ("2001:db8::1", "::", False),
    ],
)
def test_icmp_errors_are_about_packets_of_one_host_to_another(source: str, destination: str, expected: bool) -> None:
    ends = Ends(source, 9, destination, 9)
    for number, look in enumerate([PacketSpec("udp", 100), PacketSpec("tcp", 100), PacketSpec("icmp", 100)]):
        assert may_report(Packet(bytes_of(look, ends, number))) == expected


@pytest.mark.parametrize("ends", [V4, V6], ids=["v4", "v6"])
def test_icmp_errors_are_about_no_later_fragments_and_no_junk(ends: Ends) -> None:
    fragment = PacketSpec("fragment", 800)
    assert may_report(Packet(bytes_of(fragment, ends, 1)))
    assert not may_report(Packet(bytes_of(fragment._replace(offset=800), ends, 1)))
    assert not may_report(Packet(bytes_of(fragment, ends, 1)[: 20 if ends is V4 else 40]))
    assert not may_report(Packet(b"junk"))


@pytest.mark.parametrize("ends", [V4, V6], ids=["v4", "v6"])
def test_icmp_errors_are_about_no_icmp_errors_and_redirects(ends: Ends) -> None:
    whole = bytearray(bytes_of(PacketSpec("icmp", 100), ends, 1))
    answered = set()
    for kind in range(256):
        whole[20 if ends is V4 else 40] = kind
        if may_report(Packet(bytes(whole))):
            answered.add(kind)
    if ends is V4:
        assert set(range(256)) - answered == {3, 4, 5, 11, 12, 31, 40}
    else:
        assert set(range(256)) - answered == {*range(128), 137}


def test_one_message_for_six_large_packets() -> None:
    """An ICMP error, a multicast, a broadcast, a later fragment, a datagram and an ICMPv6 error."""
    with RawPcapReader(str(Path(__file__).parent / "data/icmp_on_icmp.pcap")) as frames:
        packets = [Packet(raw, number, number * s) for number, (raw, _) in enumerate(frames, 1)]
    _, verdicts = play(load("mtu:size=100,icmp=yes"), packets)
    messages = [verdict.packet for verdict in verdicts if not verdict.packet.id]
    assert [message.raw[28:] for message in messages] == [packets[4].raw]
    assert [verdict.packet.id for verdict in verdicts if verdict.fate == "dropped"] == [5, 6]
