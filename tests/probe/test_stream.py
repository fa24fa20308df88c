"""Which packet made which byte readable."""

from hypothesis import given
from hypothesis import strategies as st

from shaper.journal import Record
from shaper.report.stream import ByteStream
from tests.probe.stories import Story


def packets(*given: tuple[str, float, float, int]) -> list[Record]:
    """A client's SYN, then packets: class, sent, delivered, first byte."""
    story = Story()
    story.packet("client", "syn", 0, 1)
    for segment, sent, delivered, byte in given:
        story.packet("client", segment, sent, delivered, byte=byte)
    return story.records


def readable(stream: ByteStream, *bytes: int) -> list[int | None]:
    found = [stream.readable(byte) for byte in bytes]
    return [record.id if record is not None else None for record in found]


def test_in_order() -> None:
    records = packets(("data", 2, 3, 0), ("data", 4, 5, 10), ("fin", 6, 7, 25))
    stream = ByteStream(records)
    assert readable(stream, 0, 9, 10, 24) == [2, 2, 3, 3]
    finished = stream.finished()
    assert finished is not None
    assert finished.id == 4
    assert [stream.size(record) for record in records[1:3]] == [10, 15]


def test_a_late_packet_makes_all_after_it_readable() -> None:
    stream = ByteStream(packets(("data", 2, 9, 0), ("data", 3, 4, 10), ("fin", 5, 6, 20)))
    assert readable(stream, 0, 10) == [2, 2]
    finished = stream.finished()
    assert finished is not None
    assert finished.id == 2


def test_a_lost_packet_counts_when_it_is_sent_again() -> None:
    story = Story()
    story.packet("client", "syn", 0, 1)
    story.packet("client", "data", 2, 3, byte=0, fate="dropped")
    story.packet("client", "data", 200, 201, byte=0)
    assert readable(ByteStream(story.records), 0) == [3]


def test_nothing_delivered() -> None:
    assert readable(ByteStream(packets()), 0) == [None]
    assert ByteStream([]).finished() is None


@given(st.lists(st.integers(0, 50), min_size=1, max_size=12))
def test_bytes_become_readable_in_their_order(delays: list[int]) -> None:
    given = [("data", 2.0 + number, 3.0 + number + delay, 10 * number) for number, delay in enumerate(delays)]
    records = packets(*given)
    stream = ByteStream(records)
    by = [stream.readable(10 * number) for number in range(len(delays))]
    times = [record.begin for record in by if record is not None]
    assert len(times) == len(delays)
    # Not before its own packet, but once all packets up to it have come.
    assert times == [max(record.begin for record in records[1 : 2 + number]) for number in range(len(delays))]
