"""In a PID namespace, such as a container's, a trace says the same as outside, with the numbers of that namespace."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from shaper.trace.read.events import TraceError, TraceEvent
from shaper.trace.read.numbers import CLONE_NEWPID, Numbers
from shaper.trace.record.tracefs import Tracefs
from tests.trace.conftest import MAIN, Document
from tests.trace.test_run import NETCAT, chain

INSIDE = ("unshare", "--pid", "--fork", "--mount-proc")
SHAPER = (sys.executable, "-c", MAIN)


def started(by: int, child: int, flags: int = 0) -> TraceEvent:
    return TraceEvent(0, 0, by, "", "started", {"pid": child, "flags": flags})


def left(task: int, call: str, result: int) -> TraceEvent:
    return TraceEvent(0, 0, task, "", "left", {"call": call, "result": result})


def entered(task: int, call: str, first: int = 0) -> TraceEvent:
    return TraceEvent(0, 0, task, "", "entered", {"call": call, "first": first})


def known(*events: TraceEvent) -> dict[int, int]:
    """What the namespace calls the kernel's 101 to 109, if its 1 is the kernel's 100."""
    numbers = Numbers({100: 1}, events)
    return {number: numbers(number) for number in range(101, 110) if numbers(number) > 0}


def test_a_call_returns_the_number_of_the_child_that_it_started() -> None:
    assert known(started(100, 101), left(100, "clone", 2)) == {101: 2}


def test_a_child_may_start_others_before_the_call_of_its_parent_returns() -> None:
    events = started(100, 101), started(101, 102), left(101, "clone3", 3), left(100, "vfork", 2)
    assert known(*events) == {101: 2, 102: 3}


def test_the_child_leaves_the_same_call_with_0() -> None:
    assert known(started(100, 101), left(101, "clone", 0), left(100, "clone", 2)) == {101: 2}


def test_a_task_that_the_kernel_starts_has_no_number() -> None:
    assert known(started(100, 101), left(100, "io_uring_setup", 5), left(100, "clone", 2)) == {}


@pytest.mark.parametrize(
    ("flags", "before"), [(CLONE_NEWPID, []), (0, [entered(100, "unshare", CLONE_NEWPID), left(100, "unshare", 0)])]
)
def test_the_numbers_of_a_namespace_within_are_not_those_here(flags: int, before: list[TraceEvent]) -> None:
    within = started(100, 101, flags), left(100, "clone", 2), started(101, 102), left(101, "clone", 2)
    assert known(*before, *within) == {101: 2}


def test_the_tasks_outside_have_negative_numbers() -> None:
    numbers = Numbers({100: 1}, [])
    switch = TraceEvent(5, 0, 100, "sh", "sched_switch", {"prev_state": "S", "next_pid": 0, "next_comm": "swapper"})
    waking = TraceEvent(6, 0, 23, "kworker", "sched_waking", {"pid": 100, "comm": "sh"})
    assert [event.tid for event in numbers.translated([switch, waking])] == [1, -23]
    assert (switch.fields["next_pid"], waking.fields["pid"]) == (0, 1)


def test_a_recording_that_is_cut_off_is_translated_to_there() -> None:
    def cut() -> Iterable[TraceEvent]:
        yield started(100, 101)
        yield left(100, "fork", 2)
        raise TraceError("cut off")

    assert Numbers({100: 1}, cut())(101) == 2


def shaped(where: Path, *prefix: str) -> Document:
    document = where / "document.json"
    line = [
        *prefix,
        *SHAPER,
        "run",
        f"--json={document}",
        "--policy",
        "delay:60ms",
        "--trace",
        "--",
        "sh",
        "-c",
        NETCAT,
    ]
    done = subprocess.run(line, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "strace" not in done.stderr
    result: Document = json.loads(document.read_text())["trace"]
    return result


def waits(document: Document) -> list[tuple[Any, ...]]:
    """The long waits of the netcat experiment: who, in which call, what woke it, and because of which packet."""
    return sorted(
        (row["role"], row["task"], row["syscall"], row["fd"], row["waker"]["kind"], chain(row)[0])
        for row in document["blockings"]
        if row["task"] == "nc" and row["duration_ms"] > 50
    )


@pytest.mark.alone
def test_the_same_blockings_as_outside(tracer: None, tmp_path: Path) -> None:
    inside, outside = shaped(tmp_path, *INSIDE), shaped(tmp_path)
    assert len(waits(outside)) == 3
    assert waits(inside) == waits(outside)
    # Few processes run there, so all numbers are small; outside, they have others.
    assert all(0 < row["tid"] < 300 for row in inside["blockings"])
    assert inside["lost"] == 0


def test_a_process_that_runs_and_what_another_recorder_has_left(tracer: None, tmp_path: Path) -> None:
    recording = tmp_path / "recording"
    tracefs = Tracefs()
    dead = tracefs.path / "instances" / "shaper-7.4026531-tasks"
    dead.mkdir()
    tracefs.close()
    script = f"""
sh -c 'while :; do sleep 0.02; done' &
{sys.executable} -m shaper trace --pid $! --duration 200ms --recording {recording} || exit 1
{sys.executable} -m shaper report {recording} --pid $! --json={tmp_path}/document.json
echo $! >{tmp_path}/pid
"""
    done = subprocess.run([*INSIDE, "sh", "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    document, pid = json.loads((tmp_path / "document.json").read_text()), int((tmp_path / "pid").read_text())
    assert not dead.exists()
    slept = [row for row in document["blockings"] if "nanosleep" in row["syscall"] and row["duration_ms"] >= 20]
    assert slept
    assert all(row["tid"] > pid and row["waker"]["kind"] == "hrtimer" for row in slept)
    assert any(row["tid"] == pid and row["syscall"] == "wait4" for row in document["blockings"])


def test_without_a_proc_of_its_own_strace_stands_in(namespaces: None) -> None:
    if shutil.which("strace") is None:
        pytest.skip("there is no strace here")
    line = ["unshare", "--pid", "--fork", *SHAPER, "trace", "--", "sleep", "0.05"]
    done = subprocess.run(line, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert "shaper: /proc is that of another PID namespace; mount this one's: " in done.stderr
    assert "nanosleep" in done.stderr
