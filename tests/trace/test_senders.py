"""Which event of the trace each packet was, by lengths, sequence numbers, flows and times."""

from collections.abc import Iterable

from shaper.journal import Record
from shaper.trace.analysis.analysis import Analysis
from shaper.trace.analysis.packets import Packets
from shaper.trace.report import report
from shaper.units import us
from shaper.wire.flow import Flow
from tests.trace.network import ENGINE, HEADERS, Network

CLIENT, SERVER, STRANGER = 1, 2, 3
OTHER = Flow("tcp", "127.0.0.1", 40001, "127.0.0.1", 80)


def senders(network: Network, records: Iterable[Record] | None = None) -> list[tuple[int, int] | None]:
    """For each packet, who sent it and when (µs)."""
    analysis = Analysis()
    packets = Packets(network.records, analysis.contexts)
    analysis.observe("net_dev_queue", packets.note)
    for _ in analysis.run(network.ordered()):
        pass
    found = [packets.sender(record) for record in records or network.records]
    return [None if sent is None else (sent.tid, sent.at // us) for sent in found]


def running(*tids: int) -> Network:
    """A network whose tasks have made calls, so that they are traced."""
    network = Network()
    for tid in tids:
        network.enter(1, tid, "sendto", fd=3)
    return network


def cut(network: Network, at: int, size: int, sizes: list[int]) -> None:
    """The server sends so many bytes at once; packets of these sizes arrive, a few µs apart."""
    network.add(at, SERVER, "net_dev_queue", len=HEADERS + size)
    seq = 1000
    for number, part in enumerate(sizes):
        network.send(at + 3 * number, SERVER, "data", length=HEADERS + part, seq=seq, back=True, unseen=True)
        seq += part


def test_a_packet_is_what_was_queued_just_before_it_arrived() -> None:
    network = running(CLIENT)
    network.send(100, CLIENT, "data", length=200, seq=1)
    network.send(130, CLIENT, "data", length=200, seq=149)
    assert senders(network) == [(CLIENT, 100), (CLIENT, 130)]


def test_segments_that_were_cut_from_one_packet_have_one_sender() -> None:
    network = running(SERVER)
    cut(network, 100, 2896, [1448, 1448])
    cut(network, 500, 4000, [1448, 1448, 1104])
    assert senders(network) == [(SERVER, 100)] * 2 + [(SERVER, 500)] * 3


def test_a_part_of_a_packet_is_not_taken_for_a_packet_of_its_length() -> None:
    network = running(SERVER, CLIENT)
    cut(network, 100, 2896, [1448, 1448])
    network.send(400, CLIENT, "data", length=1500, seq=7)
    assert senders(network) == [(SERVER, 100), (SERVER, 100), (CLIENT, 400)]


def test_segments_with_a_gap_between_them_were_not_one_packet() -> None:
    network = running(SERVER)
    network.add(90, SERVER, "net_dev_queue", len=HEADERS + 2000)
    network.send(100, SERVER, "data", length=HEADERS + 1000, seq=1, back=True, unseen=True)
    network.send(110, SERVER, "data", length=HEADERS + 1000, seq=5001, back=True, unseen=True)
    assert senders(network) == [None, None]


def test_each_event_is_one_packet() -> None:
    network = running(CLIENT)
    network.send(100, CLIENT, "data", length=200, seq=1)
    network.send(101, CLIENT, "data", length=200, seq=149, unseen=True)
    assert senders(network) == [(CLIENT, 100), None]


def test_a_packet_of_another_task_on_the_machine_is_no_candidate() -> None:
    network = running(CLIENT)
    network.send(100, CLIENT, "data", length=200, seq=1)
    network.add(103, STRANGER, "net_dev_queue", len=200)
    assert senders(network) == [(CLIENT, 100)]


def test_an_answer_is_tied_to_the_delivery_on_its_own_connection() -> None:
    network = running(CLIENT)
    one = network.send(100, CLIENT, "syn", length=60, seq=10)
    two = network.send(110, CLIENT, "syn", length=60, seq=20, flow=OTHER)
    # Both are delivered; the answer to the first one arrives when that to the second was queued already.
    begins = [record.begin // us for record in (one, two)]
    answers = [
        network.send(begins[0] + 2, ENGINE, "synack", length=60, seq=50, ack=11, back=True),
        network.send(begins[1] + 2, ENGINE, "synack", length=60, seq=70, ack=21, back=True, flow=OTHER),
    ]
    late = answers[0]._replace(arrived=answers[1].arrived)
    network.records[2] = late
    assert senders(network, [late, answers[1]]) == [(ENGINE, begins[0] + 2), (ENGINE, begins[1] + 2)]


def test_an_answer_is_tied_to_the_packet_that_it_acknowledges() -> None:
    network = running(CLIENT)
    first = network.send(100, CLIENT, "syn", length=60, seq=10)
    again = network.send(150, CLIENT, "syn", length=60, seq=99)
    network.add(first.begin // us + 2, ENGINE, "net_dev_queue", len=60)
    answer = network.send(again.begin // us + 2, ENGINE, "synack", length=60, seq=50, ack=11, back=True, unseen=True)
    network.add(again.begin // us + 2, ENGINE, "net_dev_queue", len=60)
    assert senders(network, [answer]) == [(ENGINE, first.begin // us + 2)]


def test_numbers_in_the_event_decide() -> None:
    network = running(CLIENT, SERVER)
    network.add(100, CLIENT, "net_dev_queue", len=200, seq=1, ack=0)
    network.add(103, SERVER, "net_dev_queue", len=200, seq=500, ack=0)
    network.send(102, CLIENT, "data", length=200, seq=1, unseen=True)
    assert senders(network) == [(CLIENT, 100)]


def test_packets_that_seem_to_answer_each_other_are_followed_once() -> None:
    # No event shows what sent them, and their times are equal.
    network = Network()
    network.switch(0, 0, "R", CLIENT).enter(10, CLIENT, "recvfrom", fd=3).switch(20, CLIENT, "S", ENGINE)
    for back in (False, True):
        network.send(100, ENGINE, "pure-ack", hold=0, back=back, unseen=True)
    record = network.records[0]
    network.records = [each._replace(begin=record.arrived, end=record.arrived + 1) for each in network.records]
    network.records[1] = network.records[1]._replace(end=record.arrived + 8 * us, tid=ENGINE)
    network.records[0] = network.records[0]._replace(tid=ENGINE + 1)
    network.wake(105, ENGINE, CLIENT).switch(110, ENGINE, "S", CLIENT)
    (row,) = (row for row in report(network.ordered(), network.records).blockings if row.tid == CLIENT)
    assert row.duration == 90 * us


def test_what_is_tied_is_not_remembered_for_ever() -> None:
    network = running(CLIENT)
    for number in range(200):
        network.send(100 + 100_000 * number, CLIENT, "data", length=200, seq=1 + 148 * number)
    assert senders(network) == [(CLIENT, 100 + 100_000 * number) for number in range(200)]
