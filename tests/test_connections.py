"""Whose packet it is: connections, their directions, and which one of many it is."""

import pytest

from shaper.core import connections, datagrams
from shaper.core.connections import IDLE, LOOKS, Connections, FlowState
from shaper.core.datagrams import REASSEMBLY
from shaper.timeline.packet_spec import Ends, PacketSpec, bytes_of
from shaper.units import s
from shaper.wire.craft import too_big
from shaper.wire.header import ACK, FIN, RST, SYN
from shaper.wire.packet import Packet

HERE = Ends("192.0.2.1", 40000, "192.0.2.9", 80)
AGAIN = Ends("192.0.2.1", 40001, "192.0.2.9", 80)
OTHER = Ends("192.0.2.1", 40000, "192.0.2.9", 81)


class Wire:
    """Packets, one after another, at a table of connections."""

    def __init__(self) -> None:
        self.connections = Connections()
        self.number = 0

    def see(self, look: PacketSpec, ends: Ends = HERE, now: int = 0) -> FlowState:
        self.number += 1
        return self.connections.classify(Packet(bytes_of(look, ends, self.number), self.number, now), now)


def syn(isn: int = 100) -> PacketSpec:
    return PacketSpec("tcp", 0, SYN, isn)


def synack(isn: int = 500, ack: int = 101) -> PacketSpec:
    return PacketSpec("tcp", 0, SYN | ACK, isn, ack)


DATA = PacketSpec("tcp", 10, ACK, 101, 501)
UDP = PacketSpec("udp", 10)


def test_both_directions_are_one_connection() -> None:
    wire = Wire()
    there, back = wire.see(syn()), wire.see(synack(), HERE.reverse)
    assert there.connection is back.connection
    assert (there.direction, back.direction) == ("original", "reply")
    assert wire.see(DATA) is there
    assert wire.see(DATA, HERE.reverse) is back
    assert len(wire.connections) == 2


def test_the_sender_of_a_syn_is_the_opener_whichever_packet_comes_first() -> None:
    wire = Wire()
    assert wire.see(synack(), HERE.reverse).direction == "reply"
    assert wire.see(syn()).direction == "original"


def test_without_a_syn_the_first_packet_seen_has_the_original_direction() -> None:
    wire = Wire()
    assert wire.see(DATA, HERE.reverse).direction == "original"
    assert wire.see(DATA).direction == "reply"
    assert wire.see(UDP, OTHER).direction == "original"
    assert wire.see(UDP, OTHER.reverse).direction == "reply"


def test_the_how_manieth_connection_is_known_by_addresses_and_service_not_by_client_port() -> None:
    def identities(*ends: Ends) -> list[str]:
        wire = Wire()
        return [wire.see(syn(), end).connection.identity for end in ends]

    assert identities(HERE, AGAIN) == identities(AGAIN, HERE)
    assert len(set(identities(HERE, AGAIN, OTHER))) == 3
    assert identities(OTHER) == identities(HERE, AGAIN, OTHER)[2:]


def test_identity_is_the_same_when_only_replies_are_queued() -> None:
    asked, answered = Wire(), Wire()
    assert asked.see(syn()).connection.identity == answered.see(synack(), HERE.reverse).connection.identity


def test_a_new_syn_with_the_same_ports_is_another_connection() -> None:
    wire = Wire()
    first = wire.see(syn())
    wire.see(synack(), HERE.reverse)
    wire.see(PacketSpec("tcp", 0, FIN | ACK, 101, 501))
    second = wire.see(syn(isn=70_000))
    assert second.connection is not first.connection
    assert second.connection.identity.endswith("#2")
    assert wire.see(synack(isn=9, ack=70_001), HERE.reverse).connection is second.connection


def test_a_repeated_syn_is_the_same_connection() -> None:
    wire = Wire()
    first = wire.see(syn())
    assert wire.see(syn()) is first
    wire.see(synack(), HERE.reverse)
    assert wire.see(syn()) is first


def test_a_syn_after_segments_of_a_connection_whose_start_was_not_seen_is_another() -> None:
    wire = Wire()
    first = wire.see(DATA)
    assert wire.see(syn(isn=9)).connection is not first.connection


def test_a_syn_that_comes_after_its_synack_is_no_other() -> None:
    wire = Wire()
    assert wire.see(synack(), HERE.reverse).connection is wire.see(syn()).connection


def test_a_reset_connection_can_be_opened_again() -> None:
    wire = Wire()
    wire.see(syn())
    wire.see(PacketSpec("tcp", 0, RST | ACK, 0, 101), HERE.reverse)
    assert wire.see(syn(isn=5)).connection.identity.endswith("#2")


def test_both_ends_of_a_simultaneous_open_are_one_connection() -> None:
    wire = Wire()
    first = wire.see(syn(isn=100))
    assert wire.see(syn(isn=700), HERE.reverse).connection is first.connection
    assert wire.see(syn(isn=700), HERE.reverse).connection is first.connection


def test_a_syn_from_the_other_end_is_no_repeat_because_it_has_the_same_number() -> None:
    wire = Wire()
    first = wire.see(syn(isn=100))
    wire.see(DATA, HERE.reverse)
    assert wire.see(syn(isn=100), HERE.reverse).connection is not first.connection


Exchange = list[tuple[str, PacketSpec]]
"""Who sends a segment, "a" or "b", and the segment."""

ACKNOWLEDGE = PacketSpec("tcp", 0, ACK, 501, 101)
OPENED: Exchange = [("a", syn()), ("b", synack()), ("a", PacketSpec("tcp", 0, ACK, 101, 501))]
CLOSED: Exchange = [("b", PacketSpec("tcp", 0, FIN | ACK, 501, 101)), ("a", PacketSpec("tcp", 0, FIN | ACK, 101, 502))]

EXCHANGES: dict[str, tuple[Exchange, str]] = {
    "simultaneous open": (
        [("a", syn(100)), ("b", syn(500)), ("a", synack(100, 501)), ("b", synack(500, 101)), ("a", DATA)],
        "1o 1r 1o 1r 1o",
    ),
    "simultaneous open, both SYNs repeated": (
        [("a", syn(100)), ("b", syn(500)), ("b", syn(500)), ("a", syn(100)), ("b", synack(500, 101))],
        "1o 1r 1r 1o 1r",
    ),
    "simultaneous open, a SYN overtaken by its SYN-ACK": (
        [("a", syn(100)), ("b", synack(500, 101)), ("b", syn(500)), ("a", synack(100, 501))],
        "1o 1r 1r 1o",
    ),
    "a handshake in four": (
        [("a", syn(100)), ("b", ACKNOWLEDGE), ("b", syn(700)), ("a", synack(100, 701))],
        "1o 1r 1r 1o",
    ),
    "a SYN after data of the same end": (
        [("a", syn(100)), ("b", ACKNOWLEDGE._replace(payload=10)), ("b", syn(700))],
        "1o 1r 2o",
    ),
    "another try with a new number": ([("a", syn(100)), ("a", syn(900))], "1o 2o"),
    "ports used again": (
        [*OPENED, *CLOSED, ("a", syn(9000)), ("b", synack(9500, 9001)), ("b", synack(9500, 9001))],
        "1o 1r 1o 1r 1o 2o 2r 2r",
    ),
    "ports used again by the other end": (
        [*OPENED, *CLOSED, ("b", syn(9500)), ("a", synack(9000, 9501))],
        "1o 1r 1o 1r 1o 2o 2r",
    ),
    "ports used again by both ends at once": (
        [*OPENED, *CLOSED, ("a", syn(9000)), ("b", syn(9500)), ("a", synack(9000, 9501)), ("b", synack(9500, 9001))],
        "1o 1r 1o 1r 1o 2o 2r 2o 2r",
    ),
    "ports used again, answers alone": (
        [("b", synack()), ("b", ACKNOWLEDGE), ("b", synack(9500, 9001)), ("b", synack(9500, 9001))],
        "1r 1r 2r 2r",
    ),
    "in the middle of a connection, then a new one": (
        [("b", ACKNOWLEDGE), ("b", ACKNOWLEDGE), ("a", syn(900)), ("b", synack(9500, 901))],
        "1o 1o 2o 2r",
    ),
    "ACKs of one end alone, then its SYN": ([("b", ACKNOWLEDGE), ("b", syn(9500))], "1o 2o"),
    "a half-open connection": (
        [
            ("b", ACKNOWLEDGE._replace(payload=10)),
            ("a", syn(900)),
            ("b", ACKNOWLEDGE._replace(seq=511)),
            ("a", PacketSpec("tcp", 0, RST, 101, 0)),
            ("a", syn(900)),
            ("b", synack(9500, 901)),
        ],
        "1o 2o 2r 2o 2o 2r",
    ),
}


@pytest.mark.parametrize("name", EXCHANGES)
def test_which_connection_and_direction_each_segment_of_a_handshake_belongs_to(name: str) -> None:
    wire, found = Wire(), []
    met: list[object] = []
    segments, expected = EXCHANGES[name]
    for end, look in segments:
        state = wire.see(look, HERE if end == "a" else HERE.reverse)
        if state.connection not in met:
            met.append(state.connection)
        found.append(f"{met.index(state.connection) + 1}{state.direction[0]}")
    assert " ".join(found) == expected


def test_a_connection_whose_first_segment_cannot_be_read_is_classified_all_the_same() -> None:
    connections = Connections()
    cut = Packet(bytes_of(DATA, HERE, 1)[:30], 1)
    whole = Packet(bytes_of(DATA, HERE, 2), 2)
    assert connections.classify(cut, 0) is connections.classify(whole, 0)
    assert (cut.kind, whole.kind) == ("other", "data")


def test_protocols_and_families_are_apart() -> None:
    wire = Wire()
    v6 = Ends("2001:db8::1", 40000, "2001:db8::9", 80)
    looks = [
        (syn(), HERE),
        (UDP, HERE),
        (PacketSpec("icmp", 8), HERE),
        (syn(), v6),
        (UDP, v6),
        (PacketSpec("icmp", 8), v6),
    ]
    states = [wire.see(look, ends) for look, ends in looks]
    assert len({state.connection for state in states}) == len(looks)


def test_junk_is_a_connection_of_its_own() -> None:
    connections = Connections()
    packet = Packet(b"junk", 1)
    assert connections.classify(packet, 0).direction == "original"
    assert packet.kind == "other"


def test_idle_connections_are_forgotten_and_busy_ones_kept() -> None:
    wire = Wire()
    kept = wire.see(UDP)
    for number in range(2000):
        wire.see(UDP, Ends("192.0.2.1", 10_000 + number, "192.0.2.9", 53), now=1)
    assert wire.see(UDP, now=IDLE) is kept
    for number in range(3000):
        wire.see(UDP, Ends("192.0.2.3", 10_000 + number, "192.0.2.9", 53), now=IDLE + s)
    assert len(wire.connections) <= 2 * 3001
    assert wire.see(UDP, now=IDLE + s) is kept


def test_a_packet_that_a_policy_made_joins_its_flow_and_leaves_the_sender_as_it_is() -> None:
    wire = Wire()
    state = wire.see(syn())
    made = Packet(bytes_of(PacketSpec("tcp", 10, ACK, 101, 501), HERE, 1))
    assert wire.connections.find(made, 0) is state
    assert (made.kind, made.direction) == ("data", "original")
    handshake = Packet(bytes_of(PacketSpec("tcp", 0, ACK, 101, 501), HERE, 2), 2)
    wire.connections.classify(handshake, 0)
    assert handshake.kind == "handshake-ack"


def test_a_flood_from_ever_new_addresses_does_not_use_up_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "MOST", 1000)
    wire = Wire()
    for number in range(10_000):
        ends = HERE._replace(source=f"198.18.{number >> 8}.{number & 255}")
        wire.see(UDP, ends, now=number)
        assert len(wire.connections) <= 2001
    assert wire.see(UDP, ends.reverse, now=number).direction == "reply"


def test_forgetting_takes_no_longer_the_more_there_is_to_forget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "MOST", 1000)
    wire = Wire()
    for number in range(3000):
        ends = HERE._replace(source=f"198.18.{number >> 8}.{number & 255}")
        before = len(wire.connections)
        wire.see(UDP, ends, now=number if number < 2000 else number + IDLE)
        assert before - len(wire.connections) <= 2 * LOOKS
    assert len(wire.connections) == 1500


def test_connections_in_use_outlast_a_flood(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "MOST", 1000)
    wire = Wire()
    in_use = [HERE._replace(sport=1000 + number) for number in range(100)]
    kept = [wire.see(UDP, ends) for ends in in_use]
    for number in range(5000):
        wire.see(UDP, HERE._replace(source=f"198.18.{number >> 8}.{number & 255}"), now=2 * number)
        wire.see(UDP, in_use[number % 100], now=2 * number + 1)
    assert [wire.see(UDP, ends, now=10_000) for ends in in_use] == kept


def test_a_forgotten_connections_ports_may_be_anothers() -> None:
    wire = Wire()
    wire.see(syn())
    second = wire.see(syn(isn=9), now=IDLE - 1)
    for number in range(10):
        wire.see(UDP, OTHER._replace(sport=number + 1), now=IDLE + 1)
    assert wire.see(DATA, now=IDLE + 1) is second


REQUEST, REPLY = PacketSpec("icmp", 8, id=7), PacketSpec("icmp", 8, id=7, answers=True)
FIRST, LATER = PacketSpec("fragment", 1480, id=5), PacketSpec("fragment", 600, id=5, offset=1480)
LOOPBACKS = [Ends("127.0.0.1", 9, "127.0.0.1", 53), Ends("::1", 9, "::1", 53)]
PAIRS = [HERE, Ends("2001:db8::1", 40000, "2001:db8::9", 80), *LOOPBACKS]


@pytest.mark.parametrize("ends", PAIRS, ids=lambda ends: ends.source)
def test_icmp_requests_and_answers_are_the_directions_of_one_connection(ends: Ends) -> None:
    wire = Wire()
    there, back = wire.see(REQUEST, ends), wire.see(REPLY, ends.reverse)
    assert there.connection is back.connection
    assert (there.direction, back.direction) == ("original", "reply")
    assert wire.see(REQUEST, ends) is there
    # The other end may ask, too.
    assert wire.see(REQUEST._replace(id=8), ends.reverse).direction == "original"


@pytest.mark.parametrize("ends", PAIRS, ids=lambda ends: ends.source)
def test_an_icmp_answer_is_a_reply_even_if_its_request_was_not_seen(ends: Ends) -> None:
    wire = Wire()
    back = wire.see(REPLY, ends.reverse)
    assert back.direction == "reply"
    assert wire.see(REQUEST, ends).connection is back.connection
    asked = Wire().see(REQUEST, ends)
    assert back.connection.identity == asked.connection.identity


def error(cause: bytes, wire: Wire) -> tuple[Packet, FlowState]:
    packet = too_big(Packet(cause), 1280)
    assert packet is not None
    return packet, wire.connections.classify(packet, 0)


@pytest.mark.parametrize("ends", PAIRS, ids=lambda ends: ends.source)
@pytest.mark.parametrize("look", [UDP, DATA, REQUEST, FIRST], ids=lambda look: look.kind)
def test_an_icmp_error_belongs_to_the_other_direction_of_what_it_quotes(look: PacketSpec, ends: Ends) -> None:
    wire = Wire()
    there = wire.see(look, ends)
    packet, state = error(bytes_of(look, ends, 1), wire)
    assert state.connection is there.connection
    assert (packet.kind, packet.direction, state.direction) == ("icmp", "reply", "reply")
    # And of what the other end sent.
    back = REPLY if look is REQUEST else look
    packet, state = error(bytes_of(back, ends.reverse, 1), wire)
    assert (packet.kind, packet.direction) == ("icmp", "original")
    assert state is there


def test_an_icmp_error_about_a_connection_that_was_not_seen_is_a_reply() -> None:
    wire = Wire()
    packet, state = error(bytes_of(UDP, HERE, 1), wire)
    assert packet.direction == "reply"
    assert wire.see(UDP).connection is state.connection
    # One about a SYN-ACK goes to the end that answers.
    packet, _ = error(bytes_of(synack(), OTHER.reverse, 1), wire)
    assert packet.direction == "original"


def test_an_icmp_error_that_a_policy_made_belongs_there_too() -> None:
    wire = Wire()
    there = wire.see(UDP)
    made = too_big(Packet(bytes_of(UDP, HERE, 1)), 1280)
    assert made is not None
    state = wire.connections.find(made, 0)
    assert (state.connection, made.kind, made.direction) == (there.connection, "icmp", "reply")


def test_an_icmp_error_that_quotes_nothing_is_a_connection_of_its_own() -> None:
    wire = Wire()
    cut = too_big(Packet(bytes_of(UDP, HERE, 1)), 1280)
    assert cut is not None
    for size in (20, 27, 28, 40):
        assert wire.connections.classify(Packet(cut.raw[:size]), 0).direction == "original"


@pytest.mark.parametrize("ends", PAIRS, ids=lambda ends: ends.source)
def test_fragments_belong_to_the_flow_of_their_datagram(ends: Ends) -> None:
    wire = Wire()
    flow = wire.see(UDP, ends)
    assert wire.see(FIRST, ends) is flow
    later = Packet(bytes_of(LATER, ends, 3))
    assert wire.connections.classify(later, 0) is flow
    assert (later.kind, later.direction, later.flow) == ("udp", "original", Packet(bytes_of(UDP, ends, 1)).flow)
    assert wire.see(UDP, ends.reverse).direction == "reply"
    assert wire.see(FIRST._replace(id=6), ends.reverse).direction == "reply"
    assert wire.see(LATER._replace(id=6), ends.reverse).direction == "reply"


def test_a_later_fragment_that_comes_before_the_first_has_no_ports() -> None:
    wire = Wire()
    early = Packet(bytes_of(LATER, HERE, 1))
    state = wire.connections.classify(early, 0)
    assert (early.kind, early.flow.sport, early.flow.dport) == ("udp", 0, 0)
    assert wire.see(FIRST) is not state
    assert wire.see(LATER) is wire.see(UDP)


@pytest.mark.parametrize("ends", PAIRS, ids=lambda ends: ends.source)
def test_a_first_fragment_that_was_cut_off_is_none_of_the_later_ones(ends: Ends) -> None:
    wire = Wire()
    for size in (20, 22) if "." in ends.source else (48, 50):
        cut = Packet(bytes_of(FIRST, ends, 1)[:size])
        assert wire.connections.classify(cut, 0).connection.identity


def test_an_icmp_error_about_a_later_fragment_belongs_to_its_datagram() -> None:
    wire = Wire()
    there = wire.see(FIRST)
    _, state = error(bytes_of(LATER, HERE, 1), wire)
    assert (state.connection, state.direction) == (there.connection, "reply")


def test_an_identification_that_is_used_again_means_the_later_datagram() -> None:
    wire = Wire()
    wire.see(FIRST)
    second = wire.see(FIRST, AGAIN)
    assert wire.see(LATER) is second


def test_a_first_fragment_is_forgotten_when_receivers_give_up() -> None:
    wire = Wire()
    flow = wire.see(FIRST)
    assert wire.see(LATER, now=REASSEMBLY - 1) is flow
    assert wire.see(LATER, now=REASSEMBLY) is not flow


def test_a_flood_of_first_fragments_does_not_use_up_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datagrams, "MOST", 100)
    table = datagrams.Datagrams()
    for number in range(1, 1000):
        table.flow_of(Packet(bytes_of(FIRST._replace(id=number), HERE, 1)), number)
        assert len(table) <= 100
    for number in range(1000, 1100):
        before = len(table)
        table.flow_of(Packet(bytes_of(FIRST._replace(id=number), HERE, 1)), number + REASSEMBLY)
        assert before - len(table) < datagrams.LOOKS
    assert len(table) == 100


def test_fragments_of_tcp_are_data() -> None:
    wire = Wire()
    flow = wire.see(DATA)
    raw = bytearray(bytes_of(DATA._replace(payload=100), HERE, 5))
    raw[6] = 0x20
    first, later = Packet(bytes(raw)), bytearray(raw)
    assert wire.connections.classify(first, 0) is flow
    later[6], later[7] = 0, 15
    rest = Packet(bytes(later))
    assert wire.connections.classify(rest, 0) is flow
    assert (first.kind, first.tcp, rest.kind, rest.tcp) == ("data", None, "data", None)
