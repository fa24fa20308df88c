"""A traced program as a figure: where each task's lane is, and what is drawn in it."""

import pytest

from shaper.report.blocking import Blocking, HoldPart, Waker
from shaper.trace.panel import MOST, panel
from shaper.trace.report import TraceReport
from shaper.units import ms
from tests.probe.stories import at, netcat, spread
from tests.probe.test_figure import overlapping, texts
from tests.trace.test_glance import connecting


def asleep(tid: int, start: float, end: float, syscall: str = "recvfrom", *, role: str = "", by: int = 0) -> Blocking:
    """A call that slept between these times (ms), until the packet with this number came."""
    return Blocking(
        task="app",
        pid=tid,
        tid=tid,
        syscall=syscall,
        start=at(start),
        duration=at(end) - at(start),
        role=role,
        waker=Waker("packet", f"data #{by}") if by else None,
        held=(HoldPart(by, "data", "delay", ms, ms),) if by else (),
    )


def traced(*blockings: Blocking) -> TraceReport:
    return TraceReport(first=at(-5), last=at(2000), blockings=list(blockings), count=len(blockings))


def test_a_task_is_on_the_side_of_its_role_or_of_its_packets() -> None:
    report = traced(
        asleep(1, 0, 200, "pselect6", role="client"),
        asleep(2, 0, 300, "accept4", role="server"),
        asleep(3, 300, 400, by=4),  # the client's data
        asleep(4, 300, 500, by=6),  # the server's FIN
        asleep(5, 0, 10, "futex"),
    )
    drawn = panel(report, netcat().records)
    assert drawn.lanes == (["app[1]", "app[4]", "app[5]"], ["app[2]", "app[3]"])
    assert drawn.bars[0].label == "pselect6 200.0 ms"
    assert (drawn.bars[0].start, drawn.bars[0].end) == pytest.approx((5, 205))
    assert [arrow.label for arrow in drawn.arrows][:4] == ["SYN", "SYN-ACK", "ACK", "data 6 B"]


def test_without_packets_all_tasks_are_on_one_side() -> None:
    drawn = panel(traced(asleep(1, 0, 9, "accept4", role="server"), asleep(2, 0, 9)), [])
    assert drawn.lanes == (["app[1]", "app[2]"], [])


def test_of_many_tasks_those_that_slept_longest_are_drawn() -> None:
    drawn = panel(traced(*(asleep(tid, 0, tid) for tid in range(1, MOST + 4))), [])
    assert drawn.lanes[0] == [f"app[{tid}]" for tid in range(4, MOST + 4)]
    assert drawn.note == "3 more tasks slept"


def test_the_path_is_one_bar_over_the_lanes() -> None:
    report = connecting(dropped=True)
    drawn = panel(report, [])
    assert drawn.lanes[0][0] == "path of task1"
    labels = [bar.label for bar in drawn.bars if bar.lane == "path of task1"]
    assert labels == ["SYN #1 lost 1000.0 ms", "SYN #2 100.0 ms", "SYN-ACK #3 100.0 ms"]
    kinds = [bar.kind for bar in drawn.bars if bar.lane == "path of task1"]
    assert kinds == [None, "handshake", "handshake"]


def test_packets_of_other_times_are_not_drawn() -> None:
    records = netcat().records
    report = TraceReport(first=at(5000), last=at(6000))
    assert not panel(report, records).arrows


def test_no_two_texts_overlap() -> None:
    calls = [
        asleep(tid, 10 * tid, 100 * tid, "epoll_pwait", role="server" if tid % 2 else "client") for tid in (1, 2, 3)
    ]
    shown = texts([panel(traced(*calls), spread().records)])
    assert {"app[1]", "app[2]", "app[3]", "shaper", "epoll_pwait 180.0 ms"} <= {text for text, _ in shown}
    assert not overlapping(shown)
