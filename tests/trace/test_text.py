"""Traces as text: the same story from tracefs, trace-cmd, perf and strace."""

from pathlib import Path

import pytest

from shaper.cli import main
from shaper.report.blocking import Blocking, Waker
from shaper.trace.read.events import TraceError
from shaper.trace.read.source import read_trace
from shaper.trace.report import TraceReport, report
from shaper.units import ms, us

TRACEFS = """\
# tracer: nop
#           TASK-PID     CPU#  |||||  TIMESTAMP  FUNCTION
          <idle>-0       [000] d..2.   100.000000: sched_switch: prev_comm=swapper/0 prev_pid=0 prev_prio=120 \
prev_state=R ==> next_comm=my app next_pid=42 next_prio=120
          my app-42      [000] .....   100.000100: sys_enter: NR 0 (3, 7ffc, 1000, 0, 0, 0)
          my app-42      [000] d..2.   100.000200: sched_switch: prev_comm=my app prev_pid=42 prev_prio=120 \
prev_state=S ==> next_comm=swapper/0 next_pid=0 next_prio=120
          <idle>-0       [000] ..s1.   100.050000: softirq_entry: vec=3 [action=NET_RX]
          <idle>-0       [000] d.s2.   100.050010: sched_waking: comm=my app pid=42 prio=120 target_cpu=000
          <idle>-0       [000] ..s1.   100.050020: softirq_exit: vec=3 [action=NET_RX]
          <idle>-0       [000] d..2.   100.050200: sched_switch: prev_comm=swapper/0 prev_pid=0 prev_prio=120 \
prev_state=R ==> next_comm=my app next_pid=42 next_prio=120
          my app-42      [000] .....   100.050300: sys_exit: NR 0 = 16
"""
TRACE_CMD = """\
cpus=1
          <idle>-0     [000]   100.000000: sched_switch:         swapper/0:0 [120] R ==> my app:42 [120]
          my app-42    [000]   100.000100: sys_enter:            NR 0 (3, 7ffc, 1000, 0, 0, 0)
          my app-42    [000]   100.000200: sched_switch:         my app:42 [120] S ==> swapper/0:0 [120]
          <idle>-0     [000]   100.050000: softirq_entry:        vec=3 [action=NET_RX]
          <idle>-0     [000]   100.050010: sched_waking:         comm=my app pid=42 prio=120 target_cpu=000
          <idle>-0     [000]   100.050020: softirq_exit:         vec=3 [action=NET_RX]
          <idle>-0     [000]   100.050200: sched_switch:         swapper/0:0 [120] R ==> my app:42 [120]
          my app-42    [000]   100.050300: sys_exit:             NR 0 = 16
"""
BUFFER = "\n".join(f"mine:     {line}" for line in TRACE_CMD.splitlines())
PERF = """\
         swapper     0 [000]   100.000000:         sched:sched_switch: prev_comm=swapper/0 prev_pid=0 prev_prio=120 \
prev_state=R ==> next_comm=my app next_pid=42 next_prio=120
          my app    42 [000]   100.000100:     raw_syscalls:sys_enter: NR 0 (3, 7ffc, 1000, 0, 0, 0)
          my app    42 [000]   100.000200:         sched:sched_switch: prev_comm=my app prev_pid=42 prev_prio=120 \
prev_state=S ==> next_comm=swapper/0 next_pid=0 next_prio=120
         swapper     0 [000]   100.050000:          irq:softirq_entry: vec=3 [action=NET_RX]
         swapper     0 [000]   100.050010:         sched:sched_waking: comm=my app pid=42 prio=120 target_cpu=000
         swapper     0 [000]   100.050020:           irq:softirq_exit: vec=3 [action=NET_RX]
         swapper     0 [000]   100.050200:         sched:sched_switch: prev_comm=swapper/0 prev_pid=0 prev_prio=120 \
prev_state=R ==> next_comm=my app next_pid=42 next_prio=120
          my app    42 [000]   100.050300:      raw_syscalls:sys_exit: NR 0 = 16
"""
STRACE = """\
42 1700000100.000000 execve("/usr/bin/my-app", ["my-app"], 0x7ffc /* 35 vars */) = 0 <0.000100>
42 1700000100.000100 read(3<TCP:[127.0.0.1:40000->127.0.0.1:80]>, "x", 4096) = 1 <0.050200>
42 1700000100.060000 clone(child_stack=NULL, flags=CLONE_CHILD_SETTID|SIGCHLD) = 43 <0.000200>
42 1700000100.061000 wait4(-1,  <unfinished ...>
43 1700000100.061500 poll([{fd=4<UNIX:[77]>, events=POLLIN}], 1, -1) = 1 ([{fd=4, revents=POLLIN}]) <0.020000>
43 1700000100.082000 +++ exited with 0 +++
42 1700000100.083000 <... wait4 resumed>[{WIFEXITED(s) && WEXITSTATUS(s) == 0}], 0, NULL) = 43 <0.022000>
42 1700000100.084000 futex(0x7f, FUTEX_WAIT, 0, NULL <unfinished ...>
42 1700000100.090000 --- SIGTERM {si_signo=SIGTERM} ---
"""


def read(text: str, where: Path) -> TraceReport:
    file = where / "trace.txt"
    file.write_text(text)
    return report(read_trace(file))


@pytest.mark.parametrize("text", [TRACEFS, TRACE_CMD, BUFFER, PERF], ids=["tracefs", "trace-cmd", "one buffer", "perf"])
def test_the_same_story(text: str, tmp_path: Path) -> None:
    (row,) = read(text, tmp_path).blockings
    assert (row.task, row.tid, row.syscall, row.fd) == ("my app", 42, "read", 3)
    assert (row.start, row.duration) == (100 * 1000 * ms + 200 * us, 50 * ms)
    assert row.waker == Waker("softirq", "NET_RX")
    assert row.cpu_wait == 190 * us


def test_strace_knows_durations_and_files(tmp_path: Path) -> None:
    result = read(STRACE, tmp_path)
    rows = {row.syscall: row for row in result.blockings}
    assert set(rows) == {"read", "wait4", "poll", "futex"}
    assert rows["read"].duration == 50_200 * us
    assert rows["read"].file == "TCP:[127.0.0.1:40000 > 127.0.0.1:80]"
    assert (rows["poll"].fd, rows["poll"].file, rows["poll"].tid) == (4, "UNIX:[77]", 43)
    assert rows["wait4"].duration == 22 * ms
    assert rows["wait4"].task == "my-app"
    assert all(row.waker is None for row in rows.values())
    # How long a call took says nothing about CPU time.
    assert not result.cpu
    assert not result.paths


def test_strace_calls_that_did_not_end(tmp_path: Path) -> None:
    (row,) = [row for row in read(STRACE, tmp_path).blockings if row.syscall == "futex"]
    assert not row.ended


def test_lost_events_are_counted(tmp_path: Path) -> None:
    assert read(TRACEFS + "CPU:0 [LOST 12 EVENTS]\n", tmp_path).lost == 12


def test_an_unknown_call_has_its_number(tmp_path: Path) -> None:
    (row,) = read(TRACEFS.replace("NR 0 ", "NR 7777 "), tmp_path).blockings
    assert row.syscall == "syscall 7777"
    assert row.fd is None


def test_a_line_cut_in_the_middle_is_ignored(tmp_path: Path) -> None:
    whole = read(TRACEFS, tmp_path).blockings
    cut: list[Blocking] = read(TRACEFS + "          my app-42      [000] d..2.   100.0", tmp_path).blockings
    assert cut == whole


def test_a_file_that_is_no_trace(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="not a known kind of trace"):
        read("hello\n", tmp_path)
    with pytest.raises(TraceError, match="no such trace"):
        read_trace(tmp_path / "missing")
    with pytest.raises(TraceError, match="neither a recording"):
        read_trace(tmp_path)


def test_errors_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(tmp_path / "missing")]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert said.startswith("shaper: ")
