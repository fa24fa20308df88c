"""Blocking analysis of traces written by hand: exact."""

from shaper.journal import Held, Record
from shaper.report.blocking import PARTS, Blocking, Waker, as_json, because, tables
from shaper.trace.report import report
from shaper.units import us
from shaper.wire.flow import Flow
from tests.trace.story import Story

ENGINE = 9


def only(story: Story, *records: Record) -> Blocking:
    """The one blocking of task 1."""
    (row,) = [row for row in report(story.events, records).blockings if row.tid == 1]
    return row


def reading() -> Story:
    """Task 1 runs, and calls read(5)."""
    return Story().switch(1, 0, "R", 1).enter(10, 1, "read", fd=5)


def packet(id: int, *, arrived: int, begin: int, end: int, segment: str = "data", hold: int = 0) -> Record:
    """A packet of the client; a SYN-ACK is the server's, and acknowledges packet 1."""
    hold = hold or begin - arrived
    flow, ack = Flow("tcp", "127.0.0.1", 1, "127.0.0.1", 2), 0
    if segment == "synack":
        flow, ack = flow.reverse, 2
    return Record(
        id=id, flow=flow, kind=segment, flags="A", seq=id, ack=ack,
        length=100 + id, arrived=arrived * us, taken=arrived * us, fate="sent", planned=begin * us, begin=begin * us,
        end=end * us, tid=ENGINE, held=(Held("delay", hold * us),),
    )  # fmt: skip


def test_woken_by_a_task() -> None:
    story = reading().switch(20, 1, "S", 2).wake(50, 2, 1).switch(60, 2, "R", 1).exit(70, 1, "read")
    row = only(story)
    assert (row.syscall, row.fd, row.start, row.duration) == ("read", 5, 20 * us, 40 * us)
    assert row.waker == Waker("task", "task2[2]")
    assert row.cpu_wait == 10 * us
    assert row.peer == 30 * us


def test_a_wait_before_the_program_was_executed_has_its_name_and_role() -> None:
    # The child of a shell sleeps, then runs its program, which connects.
    story = Story().add(1, 0, "task", pid=1, of=1, comm="sh", parent=0).switch(2, 0, "R", 1)
    story.enter(10, 1, "execve").switch(20, 1, "D", 2).wake(50, 2, 1).switch(60, 2, "R", 1)
    story.enter(70, 1, "connect", fd=3).add(75, 1, "inet_sock_set_state", newstate="TCP_SYN_SENT")
    story.switch(80, 1, "S", 2).wake(90, 2, 1).switch(95, 2, "S", 1)
    rows = [row for row in report(story.events).blockings if row.tid == 1]
    assert [(row.syscall, row.task, row.role) for row in rows] == [
        ("execve", "task1", "client"), ("connect", "task1", "client"),
    ]  # fmt: skip


def test_preemption_is_no_blocking() -> None:
    story = reading().switch(20, 1, "R", 2).switch(60, 2, "S", 1).exit(70, 1, "read")
    assert not [row for row in report(story.events).blockings if row.tid == 1]


def test_preemption_shows_on_the_path() -> None:
    story = reading().switch(20, 1, "R", 2).switch(60, 2, "S", 1).switch(70, 1, "S", 0).wake(80, 0, 1)
    story.switch(90, 0, "R", 1)
    (path,) = [spent for task, spent in report(story.events).paths.items() if task.tid == 1]
    assert path["waiting for a CPU"] == (40 + 10) * us
    assert path["running"] == (19 + 10) * us


def test_the_innermost_context_wakes() -> None:
    story = reading().switch(20, 1, "S", 0)
    story.add(30, 0, "irq_handler_entry", irq="24 eth0").add(31, 0, "irq_handler_exit")
    story.add(32, 0, "softirq_entry", vec="NET_RX").add(33, 0, "irq_handler_entry", irq="25 disk")
    story.wake(34, 0, 1).switch(40, 0, "R", 1)
    assert only(story).waker == Waker("irq", "25 disk")


def test_a_context_on_another_cpu_does_not_count() -> None:
    story = reading().add(15, 0, "softirq_entry", cpu=1, vec="NET_RX").switch(20, 1, "S", 2)
    story.wake(50, 2, 1).switch(60, 2, "R", 1)
    assert only(story).waker == Waker("task", "task2[2]")


def test_a_context_whose_exit_was_lost_does_not_stay() -> None:
    story = reading().add(15, 1, "softirq_entry", vec="TIMER").switch(20, 1, "S", 2)
    story.wake(50, 2, 1).switch(60, 2, "R", 1)
    assert only(story).waker == Waker("task", "task2[2]")


def test_flags_give_the_context_where_entries_were_not_recorded() -> None:
    story = reading().switch(20, 1, "S", 0).wake(50, 0, 1, context="s").switch(60, 0, "R", 1)
    assert only(story).waker == Waker("softirq", "(not recorded)")


def test_a_wakeup_recorded_just_before_the_switch_counts() -> None:
    story = reading().wake(19, 2, 1, cpu=1).switch(20, 1, "S", 3).switch(60, 3, "R", 1)
    row = only(story)
    assert row.waker == Waker("task", "?[2]")
    assert row.cpu_wait == 40 * us


def test_still_blocked_at_the_end() -> None:
    story = reading().switch(20, 1, "S", 2).enter(100, 2, "write", fd=1)
    row = only(story)
    assert not row.ended
    assert row.duration == 80 * us
    assert row.unexplained == row.duration
    assert as_json(row)["waker"] is None


def test_a_chain_of_tasks() -> None:
    story = Story().switch(0, 0, "R", 2).enter(1, 2, "nanosleep").switch(5, 2, "S", 1).enter(10, 1, "read", fd=5)
    story.switch(20, 1, "S", 0).add(90, 0, "hrtimer_expire_entry", function="hrtimer_wakeup").wake(91, 0, 2)
    story.add(92, 0, "hrtimer_expire_exit").switch(95, 0, "R", 2).exit(96, 2, "nanosleep").wake(100, 2, 1)
    story.switch(110, 2, "R", 1)
    result = report(story.events)
    (row,) = [row for row in result.blockings if row.tid == 1]
    assert (row.peer, row.cpu_wait, row.unexplained) == (80 * us, 10 * us, 0)
    (path,) = [spent for task, spent in result.paths.items() if task.tid == 1]
    assert path["waiting for timer of task2[2]"] >= 71 * us


def test_what_was_under_way_when_events_were_lost_is_forgotten() -> None:
    story = reading().switch(20, 1, "S", 2).add(30, 0, "lost", count=7)
    story.wake(50, 2, 1).switch(60, 2, "R", 1)
    result = report(story.events)
    assert result.lost == 7
    assert not result.blockings


def test_a_recycled_pid_is_another_task() -> None:
    story = reading().switch(20, 1, "S", 2)
    # The exit of the first task 1 was not seen, but its number is used again.
    story.add(30, 2, "sched_process_fork", child_pid=1, child_comm="young").switch(40, 2, "S", 1)
    story.enter(41, 1, "pause").switch(50, 1, "S", 2).wake(60, 2, 1).switch(70, 2, "R", 1)
    rows = [row for row in report(story.events).blockings if row.tid == 1]
    assert [(row.syscall, row.start) for row in rows] == [("pause", 50 * us)]


def test_a_wakeup_inside_a_write_belongs_to_the_packet() -> None:
    story = reading().switch(20, 1, "S", ENGINE).wake(205, ENGINE, 1).switch(210, ENGINE, "R", 1)
    row = only(story, packet(3, arrived=100, begin=200, end=208))
    assert row.waker == Waker("packet", "data #3")
    (held,) = row.held
    assert (held.packet, held.duration, held.hold) == (3, 100 * us, 100 * us)
    assert row.cpu_wait == 5 * us
    # Before it arrived, and from the write to the wakeup.
    assert row.unexplained == 85 * us


def test_only_the_part_of_a_hold_inside_the_blocking_counts() -> None:
    story = reading().switch(150, 1, "S", ENGINE).wake(205, ENGINE, 1).switch(210, ENGINE, "R", 1)
    (held,) = only(story, packet(3, arrived=100, begin=200, end=208)).held
    assert (held.duration, held.hold) == (50 * us, 100 * us)


def test_several_verdicts_in_one_write_are_ambiguous() -> None:
    story = reading().switch(20, 1, "S", ENGINE).wake(205, ENGINE, 1).switch(210, ENGINE, "R", 1)
    both = [packet(id, arrived=100, begin=200, end=208) for id in (3, 4)]
    row = only(story, *both)
    assert row.ambiguous == ("data #3", "data #4")
    assert row.held == ()
    assert row.waker == Waker("task", f"task{ENGINE}[{ENGINE}]")
    assert row.unexplained == 185 * us


def test_a_softirq_on_the_engine_is_not_the_packet() -> None:
    story = reading().switch(20, 1, "S", ENGINE).add(203, ENGINE, "softirq_entry", vec="NET_RX")
    story.wake(205, ENGINE, 1).add(206, ENGINE, "softirq_exit", vec="NET_RX").switch(210, ENGINE, "R", 1)
    row = only(story, packet(3, arrived=100, begin=200, end=208))
    assert row.waker == Waker("softirq", "NET_RX")
    assert row.held == ()


def test_the_chain_goes_back_over_packets_that_caused_each_other() -> None:
    syn = packet(1, arrived=100, begin=200, end=208, segment="syn")
    answer = packet(2, arrived=204, begin=300, end=308, segment="synack")
    story = Story().switch(0, 0, "R", 1).enter(10, 1, "pselect6").switch(20, 1, "S", 2)
    story.enter(90, 2, "connect").add(95, 2, "net_dev_queue", len=101).switch(99, 2, "S", ENGINE)
    story.add(203, ENGINE, "net_dev_queue", len=102)
    story.wake(305, ENGINE, 1).switch(310, ENGINE, "R", 1)
    row = only(story, syn, answer)
    assert [(part.packet, part.duration) for part in row.held] == [(2, 96 * us), (1, 100 * us)]
    assert row.before_client == 75 * us
    assert row.cpu_wait == 5 * us
    # From the SYN's sending to its arrival, from its verdict to the answer's arrival, from that verdict to the wakeup.
    assert row.unexplained == (5 + 4 + 5) * us


def test_a_packet_sent_by_a_woken_task_continues_the_chain() -> None:
    request = packet(1, arrived=100, begin=200, end=208)
    reply = packet(2, arrived=250, begin=300, end=308)
    story = Story().switch(0, 0, "R", 2).enter(1, 2, "recvfrom", fd=4).switch(5, 2, "S", 1)
    story.enter(10, 1, "recvfrom", fd=3).switch(90, 1, "S", ENGINE).wake(202, ENGINE, 2).switch(209, ENGINE, "S", 2)
    story.exit(210, 2, "recvfrom").enter(245, 2, "sendto", fd=4).add(248, 2, "net_dev_queue", len=102)
    story.switch(260, 2, "S", ENGINE).wake(305, ENGINE, 1).switch(310, ENGINE, "R", 1)
    row = only(story, request, reply)
    assert [part.packet for part in row.held] == [2, 1]
    # The peer was woken, waited for a CPU, ran, and sent.
    assert row.peer == (248 - 202) * us
    assert row.before_client == 0
    parts = sum(part.duration for part in row.held) + row.peer + row.cpu_wait + row.unexplained
    assert parts == row.duration


def test_a_retransmission_is_a_wait_for_a_timer() -> None:
    story = reading().switch(20, 1, "S", 0).add(90, 0, "softirq_entry", vec="TIMER")
    story.add(95, 0, "net_dev_queue", len=101).add(96, 0, "softirq_exit", vec="TIMER").switch(99, 0, "R", ENGINE)
    story.wake(205, ENGINE, 1).switch(210, ENGINE, "R", 1)
    row = only(story, packet(1, arrived=100, begin=200, end=208))
    assert [part.duration for part in row.held] == [100 * us]
    assert row.retransmission == 80 * us
    assert row.unexplained == 5 * us


def dropped(id: int, *, arrived: int, segment: str = "syn") -> Record:
    """A packet that a policy dropped at once; its sequence number is that of packet 3."""
    record = packet(id, arrived=arrived, begin=arrived, end=arrived, segment=segment)
    return record._replace(fate="dropped", held=(), by="loss", seq=3)


def test_a_wait_for_the_retransmission_of_a_dropped_packet() -> None:
    # The first two SYNs are dropped; the third is sent again by the kernel's timer, and is not held.
    last = packet(3, arrived=3100, begin=3100, end=3108, segment="syn")._replace(held=())
    answer = packet(4, arrived=3104, begin=3200, end=3208, segment="synack")._replace(ack=4)
    story = Story().switch(0, 0, "R", 1).enter(10, 1, "connect").add(95, 1, "net_dev_queue", len=101)
    story.switch(99, 1, "S", 0).add(3090, 0, "softirq_entry", vec="TIMER").add(3098, 0, "net_dev_queue", len=103)
    story.add(3099, 0, "softirq_exit", vec="TIMER").switch(3099, 0, "R", ENGINE)
    story.add(3106, ENGINE, "net_dev_queue", len=104).wake(3205, ENGINE, 1).switch(3210, ENGINE, "R", 1)
    records = [dropped(1, arrived=96), dropped(2, arrived=1100), last, answer]
    row = only(story, *records)
    assert [(part.packet, part.duration) for part in row.dropped] == [(2, 2000 * us), (1, 1001 * us)]
    assert row.retransmission == 3001 * us
    assert because(row) == (
        "← SYN-ACK(0.1) ← SYN #2 lost (loss), sent again after 2 ms ← SYN #1 lost (loss), sent again after 1 ms"
    )
    assert as_json(row)["dropped"][0] == {
        "packet": 2, "class": "syn", "policy": "loss", "ms": 2.0, "sent_again_after_ms": 2.0,
    }  # fmt: skip
    parts = sum(getattr(row, part) for part in PARTS)
    assert sum(part.duration for part in row.held) + parts == row.duration
    (spent,) = [spent for task, spent in report(story.events, records).paths.items() if task.tid == 1]
    assert spent["packets dropped by loss"] == (3100 - 96) * us


def test_where_packets_are_only_dropped_the_table_says_so() -> None:
    last = packet(3, arrived=1100, begin=1100, end=1108)._replace(held=())
    story = reading().switch(99, 1, "S", ENGINE).wake(1105, ENGINE, 1).switch(1110, ENGINE, "R", 1)
    (drawn,) = tables([only(story, dropped(1, arrived=100, segment="data"), last)], 0)
    assert [column.header for column in drawn.columns][-1] == "Because of (ms)"
    assert "data #1 lost (loss)" in str(next(iter(drawn.columns[-1].cells)))


def test_before_the_client_through_the_task_that_sent_the_data() -> None:
    # The ACK is lost, so the client's data wakes the server: the client sent it when the SYN-ACK had woken it.
    syn, answer = (
        packet(1, arrived=500, begin=600, end=608, segment="syn"),
        packet(2, arrived=604, begin=700, end=708, segment="synack"),
    )
    data = packet(3, arrived=730, begin=800, end=808)
    story = Story().switch(0, 0, "R", 1).enter(10, 1, "accept4", fd=3).switch(20, 1, "S", 2)
    story.enter(490, 2, "connect").add(495, 2, "net_dev_queue", len=101).exit(496, 2, "connect")
    story.enter(505, 2, "poll").switch(510, 2, "S", ENGINE).add(603, ENGINE, "net_dev_queue", len=102)
    story.wake(705, ENGINE, 2).switch(710, ENGINE, "S", 2).exit(711, 2, "poll")
    story.enter(720, 2, "write").add(725, 2, "net_dev_queue", len=103).exit(735, 2, "write").switch(740, 2, "S", ENGINE)
    story.wake(805, ENGINE, 1).switch(810, ENGINE, "R", 1)
    row = only(story, syn, answer, data)
    assert [(part.packet, part.duration) for part in row.held] == [(3, 70 * us), (2, 96 * us), (1, 100 * us)]
    assert row.before_client == (495 - 20) * us
    assert row.peer == (725 - 705) * us
