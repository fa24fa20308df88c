"""`./dev bench tail`: each late packet's time is shared out to what the engine's CPU did meanwhile."""

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from io import StringIO
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from bench import tail_probe
from bench.tail import reported, tables
from bench.tail_causes import Batch, Share, causes
from bench.tail_events import CpuTrace
from bench.tail_probe import Rows
from bench.tail_spans import (
    ASLEEP,
    COLLECTOR,
    COUNTING,
    DECIDING,
    FAULT,
    IDLE,
    STOLEN,
    TAKING,
    TIMER,
    TRIO,
    TURNING,
    UNKNOWN,
    WORK,
    WRITING,
    Cpu,
    Span,
)
from shaper.trace.record.tracefs import Tracefs
from shaper.units import us
from tests.trace.story import Story

ENGINE, CPU = 7, 1


class CpuStory(Story):
    """What happens on the engine's CPU, from 0 µs on, when the engine begins to run there."""

    def __init__(self) -> None:
        super().__init__()
        self.on(0, 0, "sched_switch", prev_state="R", next_pid=ENGINE, next_comm="shaper")

    def on(self, at: int, tid: int, name: str, **fields: object) -> "CpuStory":
        self.add(at, tid, name, CPU, **fields)
        return self

    def spans(self) -> list[tuple[int, str]]:
        """How long (µs) each cause lasted, in order."""
        found: list[tuple[int, str]] = []
        end = 0
        for span in Cpu(ENGINE, CPU, {9: "shaper's front"}).spans(self.events):
            assert span.begin == end < span.end
            end = span.end
            found.append(((span.end - span.begin) // us, span.cause))
        return found


def test_work_and_what_keeps_from_it() -> None:
    story = CpuStory().on(10, ENGINE, "sys_enter", syscall="recvmmsg").on(14, ENGINE, "sys_exit", syscall="recvmmsg")
    story.on(20, ENGINE, "local_timer_entry", context="h").on(25, ENGINE, "local_timer_exit", context="h")
    story.on(30, ENGINE, "sys_enter", syscall="write").on(31, ENGINE, "irq_handler_entry", irq="24 virtio0")
    story.on(32, ENGINE, "irq_handler_exit").on(33, ENGINE, "softirq_entry", vec="NET_RX")
    story.on(34, ENGINE, "reschedule_entry").on(35, ENGINE, "reschedule_exit").on(36, ENGINE, "softirq_exit", vec="")
    story.on(40, ENGINE, "sys_exit", syscall="write").on(45, ENGINE, "collection", begins=True)
    story.on(85, ENGINE, "collection", begins=False).on(90, ENGINE, "step", task=TRIO)
    story.on(92, ENGINE, "step", task="trio's task _watch").on(93, ENGINE, "sys_enter", syscall="pread64")
    story.on(97, ENGINE, "sys_exit", syscall="pread64").on(99, ENGINE, "step", task="")
    story.on(100, ENGINE, "sys_enter", syscall="mmap").on(101, ENGINE, "sys_exit", syscall="mmap")
    story.on(101, ENGINE, "counting", begins=True).on(131, ENGINE, "counting", begins=False)
    assert story.spans() == [
        (10, DECIDING), (4, TAKING), (6, DECIDING), (5, "interrupt local_timer"), (5, DECIDING), (1, WRITING),
        (1, "interrupt virtio0"), (1, WRITING), (1, "softirq NET_RX"), (1, "interrupt reschedule"),
        (1, "softirq NET_RX"), (4, WRITING), (5, DECIDING), (40, COLLECTOR), (5, DECIDING), (2, TRIO),
        (1, "trio's task _watch"), (4, "trio's task _watch"), (2, "trio's task _watch"), (1, DECIDING),
        (1, "system call mmap"), (30, COUNTING),
    ]  # fmt: skip


def test_another_task_has_the_cpu() -> None:
    story = CpuStory().on(10, ENGINE, "sched_switch", prev_state="R", next_pid=8, next_comm="mypy")
    story.on(2000, 8, "sched_switch", prev_state="R", next_pid=9, next_comm="python")
    story.on(2100, 9, "sched_switch", prev_state="S", next_pid=ENGINE, next_comm="shaper")
    assert story.spans() == [(10, DECIDING), (1990, "program mypy had the CPU"), (100, "shaper's front had the CPU")]


def asleep() -> CpuStory:
    """It sleeps from 10 µs on, until 60 µs as it means to."""
    story = CpuStory().on(10, ENGINE, "sys_enter", syscall="ppoll")
    story.on(10, ENGINE, "hrtimer_start", hrtimer=1, expires=60 * us)
    return story.on(10, ENGINE, "sched_switch", prev_state="S", next_pid=0, next_comm="swapper/1")


def test_the_timer_is_late_and_then_the_wakeup() -> None:
    story = asleep().on(200, 0, "local_timer_entry", context="h").on(201, 0, "hrtimer_expire_entry", hrtimer=1)
    story.on(202, 0, "sched_waking", pid=ENGINE, comm="shaper", context="h").on(203, 0, "local_timer_exit")
    story.on(210, 0, "sched_switch", prev_state="R", next_pid=ENGINE, next_comm="shaper")
    story.on(212, ENGINE, "sys_exit", syscall="ppoll")
    timer = "interrupt local_timer"
    assert story.spans() == [
        (10, DECIDING), (50, ASLEEP), (140, TIMER), (1, timer), (1, timer), (1, timer), (7, IDLE), (2, TURNING),
    ]  # fmt: skip


def test_a_timer_that_others_keep_from_coming() -> None:
    story = asleep().on(20, 0, "sched_switch", prev_state="R", next_pid=8, next_comm="ping")
    story.on(300, 8, "hrtimer_expire_entry", hrtimer=1)
    assert story.spans() == [(10, DECIDING), (10, ASLEEP), (40, ASLEEP), (240, "program ping had the CPU")]


def test_a_packet_wakes_the_engine_from_the_other_cpu_while_it_falls_asleep() -> None:
    story = CpuStory().on(10, ENGINE, "sys_enter", syscall="ppoll")
    story.add(15, 3, "sched_waking", 0, pid=ENGINE, comm="shaper", context="s")
    story.on(20, ENGINE, "sched_switch", prev_state="S", next_pid=0, next_comm="swapper/1")
    story.on(120, 0, "sched_switch", prev_state="R", next_pid=ENGINE, next_comm="shaper")
    assert story.spans() == [(10, DECIDING), (5, TURNING), (5, TURNING), (100, IDLE)]


def test_it_sleeps_in_other_calls_and_in_a_page_fault() -> None:
    story = CpuStory().on(10, ENGINE, "sys_enter", syscall="futex")
    story.on(11, ENGINE, "sched_switch", prev_state="S", next_pid=0, next_comm="")
    story.add(50, 3, "sched_waking", 0, pid=ENGINE, comm="")
    story.on(51, 0, "sched_switch", prev_state="R", next_pid=ENGINE, next_comm="")
    story.on(52, ENGINE, "sys_exit", syscall="futex").on(60, ENGINE, "page_fault_user")
    story.on(61, ENGINE, "sched_switch", prev_state="D", next_pid=0, next_comm="")
    story.on(90, 0, "sched_waking", pid=ENGINE, comm="")
    assert story.spans() == [
        (10, DECIDING), (1, "system call futex"), (39, "asleep in futex"), (1, IDLE), (1, "system call futex"),
        (8, DECIDING), (1, FAULT), (29, FAULT),
    ]  # fmt: skip


def test_page_faults_with_and_without_their_end() -> None:
    story = CpuStory().on(10, ENGINE, "page_fault_user").on(12, ENGINE, "count_memcg_events")
    story.on(13, ENGINE, "count_memcg_events").on(50, ENGINE, "page_fault_user").on(54, ENGINE, "page_fault_user")
    story.on(90, ENGINE, "sys_enter", syscall="write")
    assert story.spans() == [
        (10, DECIDING), (2, FAULT), (1, FAULT), (37, DECIDING), (4, FAULT), (10, FAULT), (26, DECIDING),
    ]  # fmt: skip


def test_time_that_the_scheduler_does_not_count_is_the_hypervisors() -> None:
    story = CpuStory().on(100, ENGINE, "sys_enter", syscall="write").on(900, ENGINE, "sys_exit", syscall="write")
    story.on(950, ENGINE, "local_timer_entry").on(960, ENGINE, "sched_stat_runtime", pid=ENGINE, runtime=250 * us)
    # Another CPU counts, too, when it wakes a task that this one will run.
    story.on(970, ENGINE, "local_timer_exit").add(1000, 3, "sched_stat_runtime", 0, pid=ENGINE, runtime=40 * us)
    assert story.spans() == [
        (100, DECIDING), (100, WRITING), (700, STOLEN), (50, DECIDING), (10, "interrupt local_timer"),
        (10, "interrupt local_timer"), (30, DECIDING),
    ]  # fmt: skip


def shares(
    spans: Sequence[tuple[int, str]], batches: Sequence[tuple[int, int, Sequence[int]]], **options: bool
) -> dict[str, Share]:
    """The causes; all times are in µs."""
    row, at = [], 0
    for lasts, cause in spans:
        row.append(Span(at * us, (at + lasts) * us, cause))
        at += lasts
    return causes(
        row, [Batch(first * us, end * us, [each * us for each in late]) for first, end, late in batches], **options
    )


def test_the_queue_behind_a_pause_is_the_pauses() -> None:
    spans = [
        (1000, DECIDING),
        (1000, "program mypy had the CPU"),
        (50, TAKING),
        (150, WRITING),
        (100, TAKING),
        (100, WRITING),
    ]
    found = shares(spans, [(990, 1000, []), (1100, 2200, [1100, 1700, 1990]), (2050, 2400, [2050, 2150])])
    # Only the last two were due after it.
    assert found == {"program mypy had the CPU": Share(5, 1100 + 500 + 210 + 350 + 250, 1100)}


def test_two_pauses_share_the_queue_behind_them_and_short_stops_do_not() -> None:
    spans = [(300, COLLECTOR), (10, WRITING), (90, FAULT), (10, WRITING), (100, STOLEN), (100, WRITING)]
    found = shares(spans, [(0, 310, [0]), (280, 610, [280])])
    assert found == {
        COLLECTOR: Share(1, 310 + 20 + 10 + 10 + 75, 310),
        FAULT: Share(0, 90, 90),
        STOLEN: Share(1, 100 + 25, 125),
    }


def test_without_a_pause_the_work_itself_is_the_cause() -> None:
    found = shares([(200, TAKING), (50, FAULT), (150, WRITING)], [(0, 400, [0, 150])])
    assert found == {TAKING: Share(1, 250, 200), FAULT: Share(0, 100, 50), WRITING: Share(1, 300, 150)}


def test_when_the_engine_has_caught_up_an_earlier_pause_is_no_cause_any_more() -> None:
    spans = [(400, COLLECTOR), (100, WRITING), (300, WRITING)]
    assert shares(spans, [(0, 400, [0]), (410, 500, []), (500, 800, [500])])[WRITING] == Share(1, 300, 300)


def test_what_other_programs_have_delayed_is_left_out() -> None:
    spans = [(300, "program mypy had the CPU"), (100, WRITING), (300, COLLECTOR), (99, "program mypy had the CPU")]
    batches = [(0, 400, [0]), (410, 411, []), (450, 799, [450])]
    assert set(shares(spans, batches)) == {"program mypy had the CPU", COLLECTOR}
    assert shares(spans, batches, undisturbed=True) == {
        COLLECTOR: Share(1, 250, 250), "program mypy had the CPU": Share(0, 99, 99),
    }  # fmt: skip


def test_nobody_knows_what_was_not_traced() -> None:
    assert shares([(100, WRITING)], [(50, 350, [50])]) == {WRITING: Share(0, 50, 50), UNKNOWN: Share(1, 250, 250)}
    assert shares([], [(0, 300, [0])]) == {UNKNOWN: Share(1, 300, 300)}


@given(
    st.lists(st.tuples(st.integers(1, 500), st.sampled_from([*sorted(WORK), COLLECTOR, FAULT, STOLEN]))),
    st.lists(st.tuples(st.integers(0, 2000), st.integers(201, 3000))),
)
def test_the_shares_are_the_whole_lateness(spans: list[tuple[int, str]], packets: list[tuple[int, int]]) -> None:
    found = shares(spans, sorted((due, due + late, [due]) for due, late in packets))
    assert sum(share.us for share in found.values()) == pytest.approx(sum(late for _, late in packets), abs=1)
    assert sum(share.packets for share in found.values()) == len(packets)


def test_what_the_engine_notes() -> None:
    rows = Rows(2)
    rows.add(1, 2)
    rows.add(-3, 4)
    assert (rows.all(), rows.lost) == ([(1, 2), (-3, 4)], 0)
    said = {
        "tasks": ["<bound method Engine.run of <…>>", "shaper.live.run.Run._watch"],
        "steps": [[5, 0, 1], [20, 0, 0], [21, 1, 1], [99, 1, 0]], "collections": [[7, 0, 1], [8, 0, 0]],
        "batches": [[1, 4, 4, 3, 1], [12, 15, 20_015, 2, 2], [16, 30, 31, 1, 0], [40, 90_000, 1, 0, 0]],
        "late": [[1], [12], [13]],
    }  # fmt: skip
    events, batches, packets = reported(said, 10, 80_000)
    assert [(event.at, event.name, *event.fields.values()) for event in events] == [
        (5, "step", ""), (7, "collection", True), (8, "collection", False), (15, "counting", True),
        (20, "step", TRIO), (21, "step", "trio's task _watch"), (99, "step", TRIO), (20_015, "counting", False),
    ]  # fmt: skip
    assert (batches, packets) == ([Batch(12, 15, [12, 13]), Batch(16, 30, [])], 3)


def test_the_tables_are_80_columns_wide() -> None:
    late = {"p50": 12345.6, "p99": 12345.6, "p99.9": 12345.6, "max": 123456.7, "cpu_us": 45.6}
    shares = {f"program tokio-rt-worker{nth} had the CPU": Share(100_000, 5e8, 12345.6) for nth in range(5)}
    shares |= {f"system call {nth}": Share(1, 10.0, 5.0) for nth in range(7)}
    causes = {cause: share._asdict() for cause, share in shares.items()}
    undisturbed = {cause: each for cause, each in causes.items() if cause.startswith("system")}
    found = {"packets": 1_234_567, "causes": causes, "undisturbed": undisturbed, "lateness": {"alone": late}}
    console = Console(width=80, record=True, file=StringIO())
    for table in tables({"10 ms hold, 60000 packets/s": found}):
        console.print(table)
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= 80
    rows = [
        line.strip("│ ").split("│")
        for line in text.splitlines()
        if "others" in line or "other programs" in line or "worker" in line
    ]
    assert [[cell.strip() for cell in row] for row in rows] == [
        ["program tokio-rt-worker0 had the CPU", "100,000", "20.0", "12,346"],
        ["program tokio-rt-worker1 had the CPU", "100,000", "20.0", "12,346"],
        ["program tokio-rt-worker2 had the CPU", "100,000", "20.0", "12,346"],
        ["2 other programs had the CPU", "200,000", "40.0", "12,346"],
        ["7 others", "7", "0.0", "5"],
    ]
    assert "500,007 of 1,234,567 over 200 µs late" in text
    assert "no other program made a pause: 7 " in text


CHILD = """
import os
os.sched_setaffinity(0, [int(os.environ["CPU"])])
os.write(1, b"ready")
while os.read(0, 1):
    os.write(1, b"x")
"""


def test_the_kernel_says_what_a_task_and_its_cpu_do(tracer: None) -> None:
    cpu = min(os.sched_getaffinity(0))
    environment = os.environ | {"CPU": str(cpu)}
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, bufsize=0
    )
    assert child.stdin is not None
    assert child.stdout is not None
    with child:
        assert child.stdout.read(5) == b"ready"
        with CpuTrace(child.pid, cpu) as trace:
            trace.start()
            for _ in range(2):  # when the second answer has come, the first is over
                child.stdin.write(b"x")
                child.stdout.read(1)
            recorded, number = trace.stop(), trace.number(child.pid)
        child.stdin.close()
    events = list(recorded.events())
    assert [event.at for event in events] == sorted(event.at for event in events)
    assert {event.cpu for event in events if event.tid == number} == {cpu}
    assert "lost" not in {event.name for event in events}
    calls = [event.fields["syscall"] for event in events if event.name == "sys_enter" and event.tid == number]
    assert "write" in calls
    spans = list(Cpu(number, cpu, {}).spans(events))
    assert all(before.end == after.begin for before, after in pairwise(spans))
    assert WRITING in {span.cause for span in spans}
    tracefs = Tracefs()
    assert not list((tracefs.path / "instances").glob(f"*{os.getpid()}*tail*"))
    tracefs.close()


def test_a_run_notes_what_its_engine_does(tracer: None, tmp_path: Path) -> None:
    notes, summary = tmp_path / "notes", tmp_path / "summary"
    line = [sys.executable, "-P", tail_probe.__file__, str(notes), "run", f"--json={summary}", "--policy", "delay:1ms"]
    done = subprocess.run([*line, "--", "ping", "-c", "3", "-i", "0.01", "127.0.0.1"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    said = json.loads(notes.read_text())
    events, batches, packets = reported(said, 0, 1 << 63)
    assert packets == json.loads(summary.read_text())["taken"] == 6
    assert all(0 < batch.first < batch.written for batch in batches)
    assert Counter(event.name for event in events)["step"] > 0
    assert said["lost"] == 0
