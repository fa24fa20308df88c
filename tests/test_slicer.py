"""What the slicer makes of a segment, put together again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shaper import Packet, tcp_options
from shaper.spec.load import load
from shaper.timeline.packet_spec import Ends, PacketSpec, bytes_of
from shaper.wire.header import ACK, CWR, ECE, FIN, PSH, RST, SYN, URG, WRAP
from tests.any_options import play
from tests.examples import examples

MSS, SCALE, SACK_PERMITTED, TIMESTAMPS, MD5, COOKIE = 2, 3, 4, 8, 19, 34
OPTIONS = {
    MSS: b"\5\xb4", SCALE: b"\7", SACK_PERMITTED: b"", TIMESTAMPS: b"\0\0\0\1\0\0\0\2", COOKIE: b"cookie78",
}  # fmt: skip


def segment(flags: int, payload: int, seq: int, options: dict[int, bytes]) -> Packet:
    spec = PacketSpec("tcp", payload, flags, seq, 9 if flags & ACK else 0)
    bare = Packet(bytes_of(spec, Ends("192.0.2.1", 40000, "192.0.2.9", 80), 1))
    return Packet(bare.with_tcp(options=options).raw, id=1)


def pieces_of(spec: str, packet: Packet) -> list[Packet]:
    core, verdicts = play(load(spec), [packet])
    assert core.failures == []
    return [verdict.packet for verdict in verdicts]


def values(packet: Packet) -> dict[int, bytes]:
    return {kind: packet.raw[where] for kind, where in tcp_options(packet).items()}


@given(
    flags=st.sets(st.sampled_from((SYN, FIN, PSH, ACK, ECE, CWR))).map(sum),
    payload=st.integers(1, 300),
    seq=st.sampled_from((0, 1, 1000, WRAP - 1, WRAP - 2, WRAP - 100)),
    kinds=st.sets(st.sampled_from(sorted(OPTIONS))),
    size=st.integers(1, 120),
    variation=st.sampled_from((0, 5, 200)),
)
@examples(150)
def test_pieces_make_up_the_segment_again(
    flags: int, payload: int, seq: int, kinds: set[int], size: int, variation: int
) -> None:
    packet = segment(flags, payload, seq, {kind: OPTIONS[kind] for kind in kinds})
    pieces = pieces_of(f"slicer:size={size},variation={variation}", packet)
    assert (len(pieces) > 1) == (payload > size) or variation
    following, data = seq, b""
    for piece in pieces:
        is_first, is_last = piece is pieces[0], piece is pieces[-1]
        tcp = piece.tcp
        assert tcp is not None
        assert tcp.seq == following % WRAP
        assert 0 < tcp.payload <= size + variation
        once = {SYN: is_first, CWR: is_first, FIN: is_last, PSH: is_last, ECE: is_first or not flags & SYN, ACK: True}
        assert tcp.flags == sum(flag for flag, has_it in once.items() if has_it and flags & flag)
        assert (tcp.ack, tcp.window) == (9 if flags & ACK else 0, 65535)
        repeated = kinds if is_first or not flags & SYN else kinds & {TIMESTAMPS}
        assert values(piece) == {kind: OPTIONS[kind] for kind in repeated}
        assert piece.with_raw(piece.raw).raw == piece.raw
        following += tcp.payload + bool(tcp.flags & SYN) + bool(tcp.flags & FIN)
        data += piece.raw[piece.length - tcp.payload :]
    assert following == seq + payload + bool(flags & SYN) + bool(flags & FIN)
    assert data == packet.raw[-payload:]


@pytest.mark.parametrize(
    ("flags", "options"),
    [(RST | ACK, {}), (ACK | URG, {}), (ACK, {MD5: bytes(16)}), (ACK, {29: b"\1\1" + bytes(12)})],
)
def test_a_segment_whose_pieces_would_be_refused_stays_whole(flags: int, options: dict[int, bytes]) -> None:
    packet = segment(flags, 100, 5, options)
    assert [piece.raw for piece in pieces_of("slicer:size=10", packet)] == [packet.raw]
