"""Event loops: time-outs of the same call are one wait, with the cause of the last one. Times in µs."""

from shaper.report.blocking import Blocking, tables
from shaper.trace.report import report
from shaper.units import us
from tests.trace.network import Network

CLIENT = 1


def times_out(network: Network, since: int, until: int, call: str = "poll", fd: int | None = None) -> None:
    """The client calls this, sleeps, and a timer wakes it."""
    fields = {} if fd is None else {"fd": fd}
    network.enter(since - 2, CLIENT, call, **fields).switch(since, CLIENT, "S", 0)
    network.timer(until - 4, "hrtimer_wakeup").wake(until - 3, 0, CLIENT).switch(until + 3, 0, "R", CLIENT)
    network.exit(until + 4, CLIENT, call)


def rows(network: Network) -> list[Blocking]:
    return [row for row in report(network.ordered(), network.records).blockings if row.tid == CLIENT]


def asking() -> Network:
    """The client sends a question; the answer arrives late."""
    network = Network()
    network.switch(0, 0, "R", CLIENT).enter(1, CLIENT, "sendto", fd=3)
    network.send(5, CLIENT, "data", length=100, seq=1)
    return network


def answer(network: Network, since: int, sent: int, call: str = "poll") -> None:
    """The client sleeps in this call until the answer is delivered."""
    network.enter(since - 2, CLIENT, call).switch(since, CLIENT, "S", 0)
    network.enter(sent - 2, 2, "sendto", fd=4, cpu=1)
    record = network.send(sent, 2, "data", length=200, seq=9, ack=49, back=True, hold=1000, cpu=1)
    network.deliver(record, CLIENT)


def test_time_outs_before_an_answer_are_one_wait_for_it() -> None:
    network = asking()
    times_out(network, 100, 1100)
    times_out(network, 1120, 2120)
    answer(network, 2140, 2500)
    (row,) = rows(network)
    assert (row.start, row.timeouts) == (100 * us, 2)
    assert row.waker is not None
    assert row.waker.kind == "packet"
    assert sum(part.duration for part in row.held) >= 1000 * us
    assert "poll, 3 times" in map(str, tables([row], 0)[0].columns[2].cells)


def test_all_of_the_wait_is_explained_by_what_ended_it() -> None:
    # The other task computes all the time, and sends in the end.
    network = Network()
    network.switch(0, 0, "R", 2, cpu=1).switch(0, 0, "R", CLIENT)
    times_out(network, 100, 1100)
    answer(network, 1120, 2500)
    (row,) = rows(network)
    assert (row.timer, row.peer) == (0, 2400 * us)


def test_another_call_in_between_ends_the_wait() -> None:
    network = asking()
    times_out(network, 100, 1100)
    times_out(network, 1120, 2120, "nanosleep")
    answer(network, 2140, 2500)
    assert [row.timeouts for row in rows(network)] == [0, 0, 0]


def test_another_descriptor_is_another_wait() -> None:
    network = asking()
    times_out(network, 100, 1100, "epoll_wait", 5)
    times_out(network, 1120, 2120, "epoll_wait", 6)
    assert [(row.fd, row.timeouts) for row in rows(network)] == [(5, 0), (6, 0)]


def test_what_asks_again_after_a_time_out_has_acted_on_it() -> None:
    network = asking()
    times_out(network, 100, 1100)
    network.send(1110, CLIENT, "data", length=100, seq=1)
    answer(network, 1140, 2500)
    assert [row.timeouts for row in rows(network)] == [0, 0]


def test_a_loop_that_is_idle_to_the_end_is_one_wait_for_its_timer() -> None:
    network = asking()
    for since in range(1000, 6000, 1000):
        times_out(network, since, since + 990, "epoll_wait", 5)
    (row,) = rows(network)
    assert row.timeouts == 4
    assert row.waited_for == "timer"
    assert row.timer + row.cpu_wait == row.duration
