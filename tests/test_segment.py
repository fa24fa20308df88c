"""The class of each segment, in small conversations."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shaper.core.connections import Connections
from shaper.wire.header import ACK, CWR, ECE, FIN, PSH, RST, SYN, WRAP, TCPHeader
from shaper.wire.packet import Packet
from shaper.wire.segment import CLASSES, SenderState
from tests.traffic import traffic

FLAGS = {"S": SYN, "A": ACK, "P": PSH, "F": FIN, "R": RST, "E": ECE, "C": CWR}
Segment = tuple[str, int, int, int, str]
"""Flags, sequence number, acknowledgement, payload, and the class it is to have. "w" after the flags: a smaller window;
"s": with SACK blocks."""

CONVERSATIONS: dict[str, Sequence[Segment]] = {
    "the client of a request, its ACK repeated": [
        ("S", 100, 0, 0, "syn"),
        ("S", 100, 0, 0, "syn"),
        ("A", 101, 501, 0, "handshake-ack"),
        ("A", 101, 501, 0, "handshake-ack"),
        ("PA", 101, 501, 10, "data"),
        ("A", 111, 601, 0, "pure-ack"),
        ("A", 111, 601, 0, "dup-ack"),
        ("Aw", 111, 601, 0, "window-update"),
        ("FA", 111, 601, 0, "fin"),
        ("A", 112, 602, 0, "pure-ack"),
    ],
    "its server": [
        ("SA", 500, 101, 0, "synack"),
        ("SA", 500, 101, 0, "synack"),
        ("A", 501, 111, 0, "pure-ack"),
        ("PA", 501, 111, 100, "data"),
        ("FA", 601, 112, 0, "fin"),
    ],
    "a reset with numbers of no connection": [
        ("S", 100, 0, 0, "syn"),
        ("A", 101, 501, 0, "handshake-ack"),
        ("RA", 9000, 9000, 100, "rst"),
        ("A", 101, 551, 0, "pure-ack"),
        ("A", 101, 551, 0, "dup-ack"),
    ],
    "the server of two connections with the same ports, the second with smaller numbers": [
        ("SA", 500, 9001, 0, "synack"),
        ("A", 501, 9111, 0, "pure-ack"),
        ("SA", 300, 101, 0, "synack"),
        ("A", 301, 111, 0, "pure-ack"),
        ("SA", 300, 101, 0, "synack"),
        ("A", 301, 111, 0, "dup-ack"),
    ],
    "the ACK only came with data": [
        ("S", 100, 0, 0, "syn"),
        ("PA", 101, 501, 10, "data"),
        ("A", 111, 501, 0, "dup-ack"),
        ("A", 111, 601, 0, "pure-ack"),
    ],
    "data after the handshake's ACK, then its repeat": [
        ("S", 100, 0, 0, "syn"),
        ("A", 101, 501, 0, "handshake-ack"),
        ("PA", 101, 501, 10, "data"),
        ("A", 101, 501, 0, "other"),
    ],
    "the server speaks first": [
        ("S", 100, 0, 0, "syn"),
        ("A", 101, 501, 0, "handshake-ack"),
        ("A", 101, 551, 0, "pure-ack"),
        ("A", 101, 501, 0, "handshake-ack"),
    ],
    "the SYN was not seen": [
        ("A", 101, 501, 0, "pure-ack"),
        ("A", 101, 501, 0, "dup-ack"),
        ("PA", 101, 501, 10, "data"),
    ],
    "keep-alive and zero-window probes": [
        ("S", 100, 0, 0, "syn"),
        ("A", 101, 501, 0, "handshake-ack"),
        ("PA", 101, 501, 10, "data"),
        ("A", 110, 501, 0, "other"),
        ("A", 110, 501, 0, "other"),
    ],
    "loss: duplicate ACKs, with and without SACK blocks": [
        ("A", 101, 501, 0, "pure-ack"),
        ("As", 101, 501, 0, "dup-ack"),
        ("Asw", 101, 501, 0, "dup-ack"),
        ("Aw", 101, 501, 0, "dup-ack"),
        ("A", 101, 901, 0, "pure-ack"),
    ],
    "an ACK overtaken on its way": [
        ("A", 101, 901, 0, "pure-ack"),
        ("A", 101, 501, 0, "other"),
        ("A", 101, 901, 0, "dup-ack"),
    ],
    "a retransmission between ACKs": [
        ("PA", 101, 501, 10, "data"),
        ("PA", 111, 501, 10, "data"),
        ("PA", 101, 501, 10, "data"),
        ("A", 121, 501, 0, "dup-ack"),
        ("A", 121, 601, 0, "pure-ack"),
    ],
    "FIN and RST with data": [
        ("FPA", 101, 501, 10, "fin"),
        ("A", 112, 601, 0, "pure-ack"),
        ("RA", 112, 601, 5, "rst"),
        ("R", 112, 0, 0, "rst"),
    ],
    "sequence numbers wrap": [
        ("S", WRAP - 1, 0, 0, "syn"),
        ("A", 0, WRAP - 10, 0, "handshake-ack"),
        ("PA", 0, WRAP - 10, 10, "data"),
        ("A", 10, WRAP - 10, 0, "dup-ack"),
        ("A", 10, 5, 0, "pure-ack"),
        ("A", 9, 5, 0, "other"),
    ],
    "data across the wrap": [
        ("PA", WRAP - 5, 501, 10, "data"),
        ("A", 5, 601, 0, "pure-ack"),
        ("A", 5, 601, 0, "dup-ack"),
    ],
    "the ports used again": [
        ("S", 100, 0, 0, "syn"),
        ("A", 101, 501, 0, "handshake-ack"),
        ("PA", 101, 501, 10, "data"),
        ("FA", 111, 501, 0, "fin"),
        ("S", 90, 0, 0, "syn"),
        ("A", 91, 501, 0, "handshake-ack"),
        ("A", 91, 601, 0, "pure-ack"),
    ],
    "data in the SYN": [
        ("S", 100, 0, 20, "syn"),
        ("A", 121, 501, 0, "pure-ack"),
    ],
    "no ACK flag at all": [("", 100, 0, 0, "other"), ("P", 100, 0, 5, "data")],
    "explicit congestion notification": [
        ("SEC", 100, 0, 0, "syn"),
        ("A", 101, 501, 0, "handshake-ack"),
        ("AE", 101, 601, 0, "pure-ack"),
    ],
}


def header(flags: str, seq: int, ack: int, payload: int) -> TCPHeader:
    bits = sum(FLAGS[letter] for letter in flags if letter.isupper())
    return TCPHeader(40000, 80, seq, ack, bits, 100 if "w" in flags else 500, payload, "s" in flags)


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_one_direction_of_a_conversation(name: str) -> None:
    sender = SenderState()
    said = [sender.classify(header(*segment[:4])) for segment in CONVERSATIONS[name]]
    assert said == [segment[4] for segment in CONVERSATIONS[name]]


@given(st.integers(0, WRAP - 1), st.integers(0, WRAP - 1), st.sampled_from(sorted(CONVERSATIONS)))
def test_where_the_numbers_start_makes_no_difference(seq_offset: int, ack_offset: int, name: str) -> None:
    sender = SenderState()
    for flags, seq, ack, payload, expected in CONVERSATIONS[name]:
        moved = header(flags, (seq + seq_offset) % WRAP, (ack + ack_offset) % WRAP if "A" in flags else 0, payload)
        assert sender.classify(moved) == expected


@given(traffic())
def test_every_packet_has_a_class_and_a_direction(packets: list[Packet]) -> None:
    connections = Connections()
    for packet in packets:
        state = connections.classify(packet, packet.arrived)
        assert packet.kind in CLASSES
        assert packet.direction in ("original", "reply")
        assert packet.flow_state is state


@given(traffic())
def test_the_other_direction_makes_no_difference_to_the_class(packets: list[Packet]) -> None:
    def classes(only_to: int | None) -> list[str]:
        connections, found = Connections(), []
        for packet in packets:
            if only_to is None or packet.flow.dport == only_to:
                connections.classify(packet, packet.arrived)
                if packet.flow.dport == 80:
                    found.append(packet.kind)
        return found

    # A SYN after the other direction's segments may start another connection; the class of what comes is the same.
    assert classes(None) == classes(80)
