"""Events that a trace lacks are named, with what that costs."""

import json
from pathlib import Path

import pytest

from shaper.cli import main
from shaper.trace.analysis.lacks import FATAL, NEEDS, Seen, lacks
from shaper.trace.read.events import Trace
from shaper.trace.read.source import read_trace
from shaper.trace.report import TraceReport, report
from tests.schema import schema
from tests.trace.lttng import unpack
from tests.trace.story import Story
from tests.trace.test_analysis import ENGINE, packet, reading
from tests.trace.test_text import STRACE, TRACEFS

ALL = frozenset({
    "sched_switch", "sched_waking", "sys_enter", "sys_exit", "softirq_entry", "hrtimer_expire_entry", "net_dev_queue",
    "inet_sock_set_state",
})  # fmt: skip


def lacking(result: TraceReport) -> list[str]:
    return [lack.event.partition(":")[2] for lack in result.lacks]


def test_nothing_is_lacking() -> None:
    assert not list(lacks(Seen(ALL, packets=True, client=False)))


@pytest.mark.parametrize("event", sorted(ALL))
def test_each_event_is_missed(event: str) -> None:
    (lack,) = lacks(Seen(ALL - {event}, packets=True, client=False))
    assert lack.event.endswith(f":{event}")
    assert str(lack) == f"no {lack.event} in this trace: {lack.cost}"


def test_events_about_packets_are_missed_where_packets_are_to_be_explained() -> None:
    without = ALL - {"net_dev_queue", "inet_sock_set_state"}
    assert not list(lacks(Seen(without, packets=False, client=False)))
    assert [lack.event for lack in lacks(Seen(without, packets=True, client=True))] == ["net:net_dev_queue"]


def test_what_a_trace_has() -> None:
    story = reading().switch(20, 1, "S", ENGINE).wake(205, ENGINE, 1).switch(210, ENGINE, "R", 1)
    others = ["sys_exit", "softirq_entry", "hrtimer_expire_entry"]
    assert lacking(report(story.events)) == others
    records = [packet(3, arrived=100, begin=200, end=208)]
    assert lacking(report(story.events, records)) == [*others, "net_dev_queue", "inet_sock_set_state"]
    # What was recorded, but did not happen, isn't lacking.
    assert lacking(report(Trace(iter(story.events), "mono", ALL), records)) == []


def test_the_metadata_of_lttng_say_what_was_recorded(tmp_path: Path) -> None:
    recorded = read_trace(unpack("none", tmp_path)).recorded
    assert recorded >= ALL - {"inet_sock_set_state"}
    result = report(read_trace(tmp_path / "none"), names=["nc"])
    assert lacking(result) == []


def test_the_report_names_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trace, document = tmp_path / "trace", tmp_path / "document"
    trace.write_text(TRACEFS)
    assert main(["report", str(trace), f"--json={document}"]) == 0
    line = "no net:net_dev_queue in this trace: which packet a task sent isn't known, so chains end at the first packet"
    assert line in capsys.readouterr().out.splitlines()
    content = json.loads(document.read_text())
    schema("report").validate(content)
    assert "net:net_dev_queue" in [lack["event"] for lack in content["lacks"]]


@pytest.mark.parametrize("event", FATAL)
def test_without_calls_or_switches_no_report_says_that_nothing_slept(
    event: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trace = tmp_path / "trace"
    name = event.partition(":")[2]
    trace.write_text("\n".join(line for line in TRACEFS.splitlines() if f" {name}:" not in line))
    assert main(["report", str(trace)]) == 0
    said = capsys.readouterr().out
    assert f"no {event} in this trace" in said
    assert "slept\n" not in said


def test_strace_lacks_them_all(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    trace.write_text(STRACE)
    assert report(read_trace(trace)).lacks == []


def test_every_event_that_is_needed_is_one_of_the_model() -> None:
    assert {name for need in NEEDS for name in need.names} >= ALL


def test_a_thread_stays_one_if_its_fork_is_recorded_twice() -> None:
    # perf can record task_newtask, which has the flags of clone(2), and after it sched_process_fork.
    story = Story().switch(0, 0, "R", 1).enter(1, 1, "clone")
    story.add(5, 1, "sched_process_fork", child_pid=2, child_comm="a", thread=1)
    story.add(6, 1, "sched_process_fork", child_pid=2, child_comm="a").exit(7, 1, "clone")
    story.switch(10, 1, "R", 2).enter(11, 2, "pause").switch(20, 2, "S", 1).wake(30, 1, 2).switch(40, 1, "R", 2)
    (row,) = [row for row in report(story.events).blockings if row.tid == 2]
    assert row.pid == 1
