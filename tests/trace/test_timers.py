"""TCP's timers: what was waited for, since when, and which packet was lost. Times in µs, as in the stories."""

from shaper.report.blocking import Blocking, because
from shaper.trace.report import report
from shaper.units import us
from tests.trace.network import ENGINE, Network

CLIENT, SERVER = 1, 2


def client(network: Network) -> Blocking:
    """The one blocking of the client."""
    (row,) = (row for row in report(network.ordered(), network.records).blockings if row.tid == CLIENT)
    return row


def test_a_lost_syn_is_named_with_the_time_until_it_was_sent_again() -> None:
    network = Network()
    network.switch(0, 0, "R", CLIENT).enter(10, CLIENT, "connect", fd=3)
    network.send(15, CLIENT, "syn", length=60, seq=10, dropped=True, policy="drop_first")
    network.switch(20, CLIENT, "S", 0).timer(1_024_014)
    again = network.send(1_024_015, 0, "syn", length=60, seq=10, hold=0)
    answer = network.send(again.begin // us + 3, ENGINE, "synack", length=60, seq=50, ack=11, back=True, hold=0)
    row = client(network.deliver(answer, CLIENT))
    assert row.retransmission == (1_024_019 - 20) * us
    assert because(row) == "← SYN #1 lost (drop_first), sent again after 1024 ms"
    assert (row.timer, row.delayed_ack, row.pacing) == (0, 0, 0)


def test_a_lost_answer_is_named_where_the_first_copy_was_delivered() -> None:
    network = Network()
    network.switch(0, 0, "R", CLIENT).enter(10, CLIENT, "connect", fd=3)
    first = network.send(15, CLIENT, "syn", length=60, seq=10)
    network.switch(20, CLIENT, "S", ENGINE)
    network.send(first.begin // us + 3, ENGINE, "synack", length=60, seq=50, ack=11, back=True, dropped=True)
    network.switch(140, ENGINE, "S", 0).timer(1_000_014)
    again = network.send(1_000_015, 0, "syn", length=60, seq=10)
    answer = network.send(again.begin // us + 3, ENGINE, "synack", length=60, seq=50, ack=11, back=True)
    row = client(network.deliver(answer, CLIENT))
    assert [(lost.packet, lost.kind) for lost in row.dropped] == [(2, "synack")]
    assert row.retransmission == (1_000_019 - 20) * us


def test_a_probe_with_new_data_is_a_wait_since_the_loss() -> None:
    # RFC 8985: the last packet is lost, and the probe for it carries what came after.
    network = Network()
    network.switch(0, 0, "R", SERVER).enter(2, SERVER, "sendto", fd=4)
    network.send(5, SERVER, "data", length=1500, seq=100, back=True, dropped=True, policy="loss")
    network.switch(10, SERVER, "R", CLIENT).enter(12, CLIENT, "recvfrom", fd=3).switch(20, CLIENT, "S", 0)
    network.timer(20_000)
    probe = network.send(20_001, 0, "data", length=1500, seq=1548, back=True)
    row = client(network.deliver(probe, CLIENT))
    assert [(lost.packet, lost.again) for lost in row.dropped] == [(1, 19_996 * us)]


def test_a_delayed_ack_is_a_wait_since_the_last_delivery() -> None:
    # The client writes, and waits for space: the server's kernel delays the ACK.
    network = Network()
    network.switch(0, 0, "R", CLIENT).enter(2, CLIENT, "sendto", fd=3)
    data = network.send(5, CLIENT, "data", length=1500, seq=100)
    network.switch(10, CLIENT, "S", 0).timer(40_000)
    ack = network.send(40_001, 0, "pure-ack", ack=1548, back=True)
    row = client(network.deliver(ack, CLIENT))
    assert row.delayed_ack == ack.arrived - data.begin
    assert [part.packet for part in row.held] == [2, 1]
    assert row.dropped == ()


def test_pacing_is_a_wait_since_the_packet_before() -> None:
    network = Network()
    network.switch(0, 0, "R", SERVER).enter(2, SERVER, "sendto", fd=4)
    network.send(5, SERVER, "data", length=1500, seq=100, back=True, hold=0)
    network.switch(30, SERVER, "R", CLIENT).enter(32, CLIENT, "recvfrom", fd=3).switch(40, CLIENT, "S", 0)
    network.timer(5_000, "tcp_pace_kick")
    data = network.send(5_001, 0, "data", length=1500, seq=1548, back=True)
    row = client(network.deliver(data, CLIENT))
    assert row.pacing == data.arrived - 40 * us
    assert row.retransmission == 0


def test_the_walk_goes_on_from_where_a_timer_started() -> None:
    # The server answers a request, and that answer is lost: before it was sent, the request had been held.
    network = Network()
    network.switch(0, 0, "R", SERVER).enter(1, SERVER, "recvfrom", fd=4).switch(2, SERVER, "S", CLIENT)
    network.enter(3, CLIENT, "sendto", fd=3)
    request = network.send(5, CLIENT, "data", length=100, seq=1)
    network.exit(8, CLIENT, "sendto").enter(9, CLIENT, "recvfrom", fd=3).switch(10, CLIENT, "S", ENGINE)
    network.deliver(request, SERVER).enter(130, SERVER, "sendto", fd=4)
    network.send(140, SERVER, "data", length=200, seq=7, ack=49, back=True, dropped=True, policy="loss")
    network.switch(150, SERVER, "S", 0).timer(200_000)
    again = network.send(200_001, 0, "data", length=200, seq=7, ack=49, back=True, hold=0)
    row = client(network.deliver(again, CLIENT))
    assert [part.packet for part in row.held if part.policy == "delay"] == [1]
    assert row.retransmission == (200_005 - 144) * us
    assert row.peer > 0
