"""Rows: messages that are alike are looked at by column, and what is read is what each message says."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from struct import pack

import pytest
from hypothesis import given
from hypothesis import strategies as some

from shaper.linux.recvmmsg import Datagrams
from shaper.live.nfqueue.layout import NFQNL_MSG_PACKET, Layouts
from shaper.live.nfqueue.row import MOST_GROUPS, Row, Rows, lowest, ones, spread, telling
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
    assert row is not None
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


def test_too_many_kinds_are_no_row() -> None:
    protocols = [17, 6, 33, 132, 136]
    for kinds in (MOST_GROUPS, MOST_GROUPS + 1):
        messages = [
            message(nth, v4(protocol=protocol), stamp=True) for nth, protocol in enumerate(protocols[:kinds] * 4)
        ]
        assert (row_of(messages) is not None) == (kinds <= MOST_GROUPS)


@given(some.lists(some.sampled_from([0, 1, 0x7F, 0x80, 0xFF]), min_size=1, max_size=40))
def test_each_byte_that_is_not_0_becomes_255(given: list[int]) -> None:
    count, number = len(given), int.from_bytes(bytes(given), "little")
    found = spread(number, count)
    assert found == int.from_bytes(bytes(255 if each else 0 for each in given), "little")
    assert found & ~ones(count) == 0
    if number:
        assert lowest(number) == next(nth for nth, each in enumerate(given) if each)


def test_of_a_long_attribute_all_bytes_are_looked_at() -> None:
    # Two bytes of length, two of type.
    assert telling(pack("=HH", 20, 4)) == ([0, 2] if pack("=H", 1)[0] else [1, 3])
    assert telling(pack("=HH", 256, 4)) == [0, 1, 2, 3]
    assert telling(pack("=H", NFQNL_MSG_PACKET)) == [0, 1]
