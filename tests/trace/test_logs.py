"""Odd lines of perf, trace-cmd, tracefs and strace, each from a log of someone's."""

from pathlib import Path

import pytest

from shaper.report.blocking import Blocking
from shaper.trace.read.events import TraceError
from shaper.trace.read.source import read_trace
from shaper.trace.report import report
from shaper.units import ms, us

LOGS = Path(__file__).parent / "data" / "logs"


def blockings(name: str) -> list[Blocking]:
    return report(read_trace(LOGS / name)).blockings


@pytest.mark.parametrize("name", ["perf_pidtid.txt", "perf_tid.txt"])
def test_perf_with_the_thread_alone_or_after_its_process(name: str) -> None:
    (row,) = blockings(name)
    assert (row.tid, row.syscall, row.fd, row.duration) == (11, "read", 3, 1000 * ms)


@pytest.mark.parametrize(
    ("name", "syscall", "fd"),
    [("tracefs_syscalls.txt", "read", 3), ("tracecmd_syscalls.txt", "read", 3), ("tc_epoll.txt", "epoll_wait", 5)],
)
def test_an_event_for_each_call(name: str, syscall: str, fd: int) -> None:
    (row,) = blockings(name)
    assert (row.syscall, row.fd, row.duration) == (syscall, fd, 1000 * ms)


def test_a_dead_task_is_not_blocked() -> None:
    assert blockings("dead_x.txt") == []


def test_fields_in_no_form_of_the_kernels() -> None:
    with pytest.raises(TraceError, match="without -R"):
        blockings("raw_R.txt")


def test_strace_select_with_files() -> None:
    found = [(row.syscall, row.fd, row.file) for row in blockings("select_y.strace")]
    assert found == [
        ("read", 0, "pipe:[1]"),
        ("select", 3, "pipe:[533127]"),
        ("pselect6", 3, "TCP:[127.0.0.1:5 > 127.0.0.1:6]"),
    ]


def test_strace_of_a_process_that_is_killed_in_a_call() -> None:
    row = next(row for row in blockings("killed.strace") if row.syscall == "read")
    assert (row.duration, row.ended) == (4000 * ms, True)


def test_strace_without_pids_where_one_process_is_left() -> None:
    (row,) = [row for row in blockings("stderr.strace") if row.syscall == "wait4"]
    assert (row.tid, row.duration, row.ended) == (10, 72_200 * us, True)


def test_strace_without_durations() -> None:
    with pytest.raises(TraceError, match="record with -T"):
        read_trace(LOGS / "noT.strace")


def test_strace_with_an_octal_result() -> None:
    (row,) = blockings("umask.strace")
    assert (row.syscall, row.duration) == ("read", 1000 * ms)


def test_strace_first_arguments_that_are_no_file_descriptors() -> None:
    fds = {row.syscall: row.fd for row in blockings("names.strace") if row.fd is not None}
    assert fds == {"_newselect": 3, "ppoll_time64": 9, "pselect6_time64": 3, "sendfile": 4, "flock": 6}
