"""Each form in which tracers write their logs: the right calls, or one line that says what is missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from shaper.cli import main
from shaper.trace.read.events import Trace, TraceError
from shaper.trace.read.source import read_trace
from shaper.trace.report import report
from shaper.units import ms

DATA = Path(__file__).parent.parent / "data" / "traces"
Row = tuple[int, str, int | None, float]
STRACE: dict[str, list[Row]] = {
    "tt": [(10, "read", 3, 50), (10, "read", 4, 100)],
    "t": [(10, "read", 3, 500), (10, "read", 4, 250)],
    "r": [(10, "read", 0, 250)],
    "all_prefixes": [(10, "read", 3, 50), (10, "read", 4, 2)],
    "ns": [(10, "read", 3, 50.000123)],
    "seconds": [(10, "read", 3, 50), (10, "read", 4, 50)],
    "threads": [(11, "futex", None, 199.91), (10, "read", 3, 100)],
    "stderr_cut": [(10, "wait4", None, 49), (11, "write", 2, 4)],
    "clone_cut": [(10, "clone3", None, 3.2), (11, "execve", None, 3.1), (11, "clock_nanosleep", None, 20)],
    "detached": [(10, "read", 0, 10), (10, "read", 0, 0)],
    "detached_many": [(10, "read", 0, 50), (11, "read", 3, 20)],
    "killed_unavailable": [(10, "read", 0, 500)],
    "restart": [
        (10, "clock_nanosleep", None, 300), (10, "clock_nanosleep", None, 600), (10, "restart_syscall", None, 10),
    ],
    "strace4": [(10, "wait4", None, 49), (11, "read", 3, 30)],
    "log_in_log": [(10, "write", 6, 2)],
    "exec_in_thread": [(10, "execve", None, 4.9), (10, "read", 3, 10)],
}  # fmt: skip
SETS: list[tuple[str, int | None, str]] = [
    ("poll", 3, 'UNIX-STREAM:[17 > 18,"/run/a]>b"]'),
    ("poll", None, ""),
    ("select", 7, "TCP:[127.0.0.1:5 > 127.0.0.1:6]"),
    ("select", None, ""),
    ("pselect6", 9, "TCPv6:[[::1]:5 > [::1]:6]"),
    ("epoll_wait", 5, "anon_inode:[eventpoll]"),
    ("read", 6, "/dev/pts/1<char 136:1>"),
    ("read", 8, "/tmp/a<b>ä (deleted)"),
    ("read", 2, ""),
    ("recvfrom", 3, "NETLINK:[ROUTE:12]"),
    ("wait4", None, ""),
    ("openat", None, ""),
]
REFUSED = {
    "empty": "an empty file",
    "bare.strace": "no times of calls; record with -ttt",
    "no_times.strace": "no times of calls; record with -ttt",
    "no_durations.strace": "no durations of calls; record with -T",
    "counts.strace": "strace -c",
    "perf_trace_summary.txt": "perf trace -s",
    "perf_sched_latency.txt": "perf sched latency",
    "perf_sched_timehist.txt": "perf sched timehist",
    "bpftrace.txt": "bpftrace",
    "tracefs_empty.txt": "without any event",
    "tracefs_no_context.txt": "tracefs prints them without the options raw",
    "tracefs_fields.txt": "sys_exit is not as the kernel prints it",
    "function.txt": "a trace of function without events",
    "irqsoff.txt": "a trace of irqsoff without events",
    "ticks.txt": "set trace_clock to mono",
    "perf_no_task.txt": "which task each event is of; give the output of perf script -F",
    "perf_no_time.txt": "no times; give the output of perf script -F",
    "perf_deltatime.txt": "without --deltatime",
}
MAGIC = {
    b"PERFILE2": "perf script",
    b"\x17\x08\x44tracing6": "trace-cmd report",
    b"\x0a\x0d\x0d\x0a": "shaper replay",
    b"\x1f\x8b\x08": "gunzip",
    b"PK\x03\x04": "zip",
    bytes(257) + b"ustar\0": "tar",
    b"\xc1\x1f\xfc\xc1": "the folder that holds its metadata",
}


def rows(trace: Trace) -> list[Row]:
    return [(row.tid, row.syscall, row.fd, row.duration / ms) for row in report(trace).blockings]


@pytest.mark.parametrize("name", STRACE)
def test_strace(name: str) -> None:
    assert sorted(rows(read_trace(DATA / "strace" / f"{name}.strace"))) == sorted(STRACE[name])


def test_every_log_of_strace_is_in_the_table() -> None:
    assert {file.stem for file in (DATA / "strace").glob("*.strace")} == {*STRACE, "sets"}


def test_strace_file_descriptors_and_what_they_are() -> None:
    found = report(read_trace(DATA / "strace" / "sets.strace")).blockings
    assert [(row.syscall, row.fd, row.file) for row in found] == SETS


@pytest.mark.parametrize("path", ["strace/ff", "strace/ff/log"])
def test_strace_with_a_file_for_each_thread(path: str) -> None:
    found = report(read_trace(DATA / path)).blockings
    assert [(row.task, row.tid, row.syscall, row.duration / ms) for row in found] == [
        ("sh", 11, "read", 20), ("sh", 10, "wait4", 30),
    ]  # fmt: skip
    assert rows(read_trace(DATA / "strace/ff/log.11")) == [(11, "read", 3, 20)]


@pytest.mark.parametrize(
    ("name", "clock"), [("tt", "own"), ("t", "own"), ("r", "own"), ("ns", "wall"), ("seconds", "wall")]
)
def test_times_without_a_day_are_on_no_clock_of_a_journal(name: str, clock: str) -> None:
    assert read_trace(DATA / "strace" / f"{name}.strace").clock == clock


@pytest.mark.parametrize(
    "name", sorted(file.name for file in (DATA / "text").glob("*") if "perf_trace" not in file.name)
)
def test_text(name: str) -> None:
    ((tid, syscall, fd, duration),) = rows(read_trace(DATA / "text" / name))
    assert (tid, syscall, fd, duration) == (42, "read", 3, 50)
    (row,) = report(read_trace(DATA / "text" / name)).blockings
    assert row.task == "a b-1/2 [x]"
    assert row.pid == (41 if "tgid" in name or "pid_tid" in name or "no_comm" in name else 42)


def test_text_without_a_cpu_says_what_that_costs() -> None:
    lacks = [lack.event for lack in report(read_trace(DATA / "text" / "perf_no_cpu.txt")).lacks]
    assert lacks[0] == "CPU column"
    assert "CPU column" not in [lack.event for lack in report(read_trace(DATA / "text" / "perf.txt")).lacks]


def test_perf_trace() -> None:
    assert rows(read_trace(DATA / "text" / "perf_trace.txt")) == [
        (41, "read", 3, 10.5), (41, "wait4", None, 20), (42, "epoll_wait", 5, 5),
    ]  # fmt: skip
    (row,) = report(read_trace(DATA / "text" / "perf_trace_one.txt")).blockings
    assert (row.syscall, row.file, row.duration) == ("read", "socket:[77]", 10_500_000)


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_missing_is_said_in_one_line(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(DATA / "refused" / name)]) == 1
    said = capsys.readouterr().err
    assert REFUSED[name] in said
    assert said.count("\n") == 1


@pytest.mark.parametrize("magic", MAGIC)
def test_binary_files_are_known_by_their_first_bytes(magic: bytes, tmp_path: Path) -> None:
    (tmp_path / "trace").write_bytes(magic + bytes(100))
    with pytest.raises(TraceError, match=MAGIC[magic]):
        read_trace(tmp_path / "trace")


@pytest.mark.parametrize(
    ("lines", "count"),
    [
        ("CPU:1 [LOST 12 EVENTS]", 12),
        ("CPU:1 [12 EVENTS DROPPED]", 12),
        ("CPU:1 [EVENTS DROPPED]", 1),
        ("     nc 30374 [000] 14896.260619: PERF_RECORD_LOST lost 9032", 9032),
        ("Warning:\nProcessed 158614 events and lost 6 chunks!\n", 6),
    ],
)
def test_lost_events_leave_open_whether_a_call_slept(lines: str, count: int, tmp_path: Path) -> None:
    file = tmp_path / "trace"
    text = (DATA / "text" / "tracefs.txt").read_text()
    file.write_text(f"{text}{lines}\n")
    assert report(read_trace(file)).lost == count
    first = text.splitlines()[0]
    file.write_text(f"{first}\n{lines}\n")
    assert "is known to have slept, but the trace is not complete" in report(read_trace(file)).none


def test_that_none_slept_is_said_of_known_calls_alone(tmp_path: Path) -> None:
    file = tmp_path / "trace"
    file.write_text("10 1700000000.000000 close(3) = 0 <0.000010>\n")
    assert report(read_trace(file)).none == "no call in this log took 1 ms or longer"
    assert report(read_trace(file), pids=[7]).none == (
        "no task 7 made a call in this trace; tasks in a container have the host's numbers in a trace"
    )
    assert report(read_trace(file), names=["nc"]).none == "no task nc made a call in this trace"
    lines = (DATA / "text" / "tracefs.txt").read_text().splitlines()
    file.write_text("\n".join([lines[0], lines[3], lines[1]]))
    assert report(read_trace(file)).count == 1
    file.write_text("\n".join([lines[0], lines[3], lines[2]]))
    assert report(read_trace(file)).none == "no call of these tasks slept"


def test_perf_says_what_it_recorded_and_on_which_machine(tmp_path: Path) -> None:
    file = tmp_path / "trace"
    text = (DATA / "text" / "perf.txt").read_text().replace("NR 0 ", "NR 63 ")
    header = "# captured on    : Sun Nov 29\n# arch : aarch64\n# event : name = irq:softirq_entry, , id = { 1 }\n"
    file.write_text(header + "# event : name = timer:hrtimer_expire_entry, , id = { 2 }\n" + text)
    result = report(read_trace(file))
    assert [(row.syscall, row.fd) for row in result.blockings] == [("read", 3)]
    assert not {"irq:softirq_entry", "timer:hrtimer_expire_entry"} & {lack.event for lack in result.lacks}
