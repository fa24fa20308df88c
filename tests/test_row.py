"""Rows: messages that are alike are looked at by column, and what is read is what each message says."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from struct import pack
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from shaper.linux.recvmmsg import Datagrams
from shaper.live.nfqueue.layout import NFQNL_MSG_PACKET, Layouts
from shaper.live.nfqueue.row import MOST_GROUPS, Row, Rows, Table, columns_in
from shaper.wire.header import plain_key
from tests.test_taking import message

ROOM, MOST = 256, 32
SECOND, MICROSECOND = 1_000_000_000, 1000
STAMP = 12 * SECOND + 34 * MICROSECOND


def v4(client: int = 1, *, protocol: int = 17, payload: bytes = b"payload", fragment: int = 0x4000) -> bytes:
    """A packet from one of several clients."""
    ends = bytes((10, 0, 0, client, 10, 0, 0, 100)) + pack(">HH", 5000 + client, 80)
    return pack(">BBHHHBBH", 0x45, 0, 24 + len(payload), client, fragment, 64, protocol, 0) + ends + payload


def v6(client: int = 1, *, protocol: int = 17, payload: bytes = b"payload") -> bytes:
    ends = bytes(15) + bytes((client,)) + bytes(15) + bytes((100,)) + pack(">HH", 5000 + client, 80)
    return pack(">IHBB", 0x6000_0000, 4 + len(payload), protocol, 64) + ends + payload


def row_of(messages: Sequence[bytes], before: Sequence[bytes] = ()) -> Row | None:
    """The messages as a row, where others were taken before them."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ours,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as theirs,
    ):
        ours.bind(("127.0.0.1", 0))
        theirs.connect(ours.getsockname())
        datagrams = Datagrams(ours.fileno(), room=ROOM, most=MOST)
        for batch in (before, messages):
            for each in batch:
                theirs.send(each)
            count = datagrams.receive()
        return Rows(datagrams, Layouts()).row(count)


def flows_in(row: Row) -> list[bytes]:
    """The flow key of each packet of a row."""
    return [key for key, count in row.flows for _ in range(count)]


@pytest.mark.parametrize("packet", [v4(), v6(), v4(protocol=6), v4(payload=bytes(20))])
def test_packets_of_one_flow_are_one_group(packet: bytes) -> None:
    row = row_of([message(7 + nth, packet, stamp=True) for nth in range(20)])
    assert row is not None
    assert row.flows == [(plain_key(packet), 20)]
    assert (row.count, row.last_id, row.stamped(0), row.stamped(19)) == (20, 26, STAMP, STAMP)
    assert row.raws() == [packet] * 20


packets = some.one_of(
    some.builds(v4, some.integers(1, 3), payload=some.binary(max_size=60)),
    some.builds(v6, some.integers(1, 3), payload=some.binary(max_size=60)),
)


batch = some.one_of(
    some.lists(some.tuples(packets, some.booleans()), min_size=1, max_size=MOST),
    # Packets that are alike, but for one or two.
    some.builds(
        lambda alike, count, other: [*[alike] * count, *other],
        some.tuples(packets, some.booleans()),
        some.integers(1, MOST - 2),
        some.lists(some.tuples(packets, some.booleans()), max_size=2),
    ),
)


@given(batch, some.sampled_from((1, 1, 1, 3)), some.sampled_from((0, 1, 999_990)))
def test_a_row_says_of_each_packet_what_its_message_says(sent: list[tuple[bytes, bool]], step: int, begin: int) -> None:
    # With a mark, all that follows in the message is further back. The kernel numbers packets that find no room, too.
    ids = [nth * step for nth in range(len(sent))]
    times = [divmod(begin + nth, 1_000_000) for nth in range(len(sent))]
    row = row_of(
        [
            message(id, packet, stamp=True, at=at, mark=mark)
            for id, at, (packet, mark) in zip(ids, times, sent, strict=True)
        ]
    )
    raws = [packet for packet, _ in sent]
    kinds = {(len(packet) + 8 * mark, packet[0] >> 4, mark) for packet, mark in sent}
    lengths = {length for length, _, _ in kinds}
    assert (row is not None) == (len(kinds) == len(lengths) <= MOST_GROUPS)
    if row is None:
        return
    assert flows_in(row) == [plain_key(raw) for raw in raws]
    assert row.raws() == raws
    assert (row.last_id, list(row.ids())) == (ids[-1], ids)
    stamps = [seconds * SECOND + microseconds * MICROSECOND for seconds, microseconds in times]
    assert [row.stamped(nth) for nth in range(row.count)] == row.stamps() == stamps


@pytest.mark.parametrize(
    "other",
    [
        message(9, v4(fragment=0x2000), stamp=True),
        message(9, v4(fragment=0x0001), stamp=True),
        message(9, v4(protocol=1), stamp=True),
        message(9, b"\x46" + v4()[1:], stamp=True),
        message(9, b"\x45", stamp=True),
        message(9, v4(), stamp=False),
        message(9, v4(), stamp=True, kind=2),
        message(9, v4(), stamp=True, kind=NFQNL_MSG_PACKET | 2),
        pack("=IHHII", 36, 2, 0, 0, 0) + bytes(20),
    ],
    ids=[
        "first fragment",
        "later fragment",
        "no ports",
        "options",
        "cut",
        "no stamp",
        "no packet",
        "settings",
        "error",
    ],
)
@pytest.mark.parametrize("at", [0, 5, 19])
def test_with_a_packet_that_is_not_plain_they_are_no_row(other: bytes, at: int) -> None:
    messages = [message(nth, v4(), stamp=True) for nth in range(19)]
    messages.insert(at, other)
    assert row_of(messages) is None


def test_what_an_earlier_message_left_behind_is_no_part_of_a_packet() -> None:
    whole = [message(nth, v4(payload=bytes(60)), stamp=True) for nth in range(10)]
    cut = [message(nth, v4()[:22], stamp=True) for nth in range(10)]
    assert row_of(cut, before=whole) is None
    assert row_of([*whole[:9], cut[9]], before=whole) is None


def test_too_many_lengths_are_no_row() -> None:
    for lengths in (MOST_GROUPS, MOST_GROUPS + 1):
        messages = [
            message(nth, v4(payload=bytes(length)), stamp=True) for nth, length in enumerate([*range(lengths)] * 4)
        ]
        assert (row_of(messages) is not None) == (lengths <= MOST_GROUPS)


@pytest.mark.parametrize("other", [v4(protocol=6), v4()[:8] + b"\x3f" + v4()[9:], b"\x45\x04" + v4()[2:]])
def test_packets_of_one_length_that_are_not_alike_are_no_row(other: bytes) -> None:
    messages = [message(nth, v4(), stamp=True) for nth in range(19)]
    assert row_of([*messages, message(19, v4(2), stamp=True)]) is not None
    assert row_of([*messages, message(19, other, stamp=True)]) is None


@given(some.integers(0, 60), some.integers(1, 60), some.data())
def test_a_span_is_looked_at_wholly_and_nothing_else_is(begin: int, length: int, data: Any) -> None:
    end, count, step = begin + length, data.draw(some.integers(2, 5)), 128
    columns = columns_in(begin, end)
    memory = bytearray(b"same".ljust(step) * count)
    table = Table(memoryview(memory), step)
    assert table.is_constant(columns, count)
    place, which = data.draw(some.integers(0, step - 1)), data.draw(some.integers(0, count - 1))
    memory[which * step + place] ^= 1 << data.draw(some.integers(0, 7))
    assert table.is_constant(columns, count) == (not begin <= place < end)
