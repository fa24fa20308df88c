"""Critical paths of traces written by hand: where the time of a task went, exactly. Times in µs, as in the stories."""

from shaper.trace.read.text import read_lines
from shaper.trace.report import report
from shaper.units import us
from tests.trace.story import Story

SERVER, WORKER, ENGINE = 7, 8, 9


def path(story: Story, tid: int = 1, own: int = 2) -> dict[str, int]:
    """What the path of this task has, in µs; what is shorter than `own` µs is left out."""
    spent = next(spent for task, spent in report(story.events, pids=[tid]).paths.items() if task.tid == tid)
    return {what: duration // us for what, duration in spent.items() if duration >= own * us}


def sleeping(story: Story, tid: int, since: int, until: int) -> Story:
    """The task runs, sleeps until this time, and runs again."""
    story.enter(since - 1, tid, "nanosleep").switch(since, tid, "S", 0)
    story.add(until - 2, 0, "hrtimer_expire_entry", function="hrtimer_wakeup").wake(until - 1, 0, tid)
    story.add(until - 1, 0, "hrtimer_expire_exit").switch(until, 0, "R", tid)
    return story.exit(until + 1, tid, "nanosleep")


def test_after_a_wait_the_path_is_the_sleepers_own_again() -> None:
    story = sleeping(Story().switch(0, 0, "R", 1), 1, 10, 810)
    # Only task 1 is followed: of the server, there are the switches to and from task 1, and the wakeup.
    story.enter(815, 1, "recvfrom", fd=3).switch(820, 1, "S", SERVER)
    story.wake(1320, SERVER, 1).switch(1321, SERVER, "S", 1).exit(1330, 1, "recvfrom")
    assert path(story, own=100) == {"waiting for timer": 799, f"waiting for task{SERVER}[{SERVER}], not recorded": 500}


def test_a_wakeup_just_before_the_sleep_takes_nothing_of_what_was_before() -> None:
    story = sleeping(Story().switch(0, 0, "R", 1), 1, 10, 810)
    story.enter(815, 1, "futex").wake(819, SERVER, 1, cpu=1).switch(820, 1, "S", 0).switch(850, 0, "R", 1)
    assert path(story.exit(860, 1, "futex"), own=100) == {"waiting for timer": 799}


def test_a_task_known_by_its_name_alone_is_not_running() -> None:
    story = Story().add(0, 0, "task", pid=WORKER, of=WORKER, comm="kworker", parent=0)
    sleeping(story.switch(1, 0, "R", 1), 1, 10, 810)
    story.enter(815, 1, "fsync", fd=3).switch(820, 1, "D", 0)
    story.wake(846, WORKER, 1, cpu=1).switch(847, 0, "R", 1).exit(850, 1, "fsync")
    assert path(story, own=25) == {"waiting for timer": 799, f"waiting for kworker[{WORKER}], not recorded": 26}


def test_a_task_that_slept_since_before_the_trace_is_not_recorded_until_its_wakeup() -> None:
    story = Story().switch(0, 0, "R", 1).enter(5, 1, "read", fd=3).switch(10, 1, "S", 0)
    story.switch(500, 0, "R", SERVER).exit(505, SERVER, "nanosleep").wake(520, SERVER, 1)
    story.switch(530, SERVER, "S", 1).exit(540, 1, "read")
    server = f"task{SERVER}[{SERVER}]"
    assert path(story, own=11) == {
        f"waiting for {server}, not recorded": 490, f"running of {server}": 20, "running": 5 + 10,
    }  # fmt: skip


def test_a_kernels_thread_that_is_recorded_is_followed() -> None:
    story = Story().switch(0, 0, "R", 1).enter(5, 1, "fsync", fd=3).switch(10, 1, "D", 0)
    story.switch(20, 0, "R", WORKER).switch(40, WORKER, "D", 0)
    story.add(439, 0, "softirq_entry", vec="BLOCK").wake(440, 0, WORKER).add(441, 0, "softirq_exit", vec="BLOCK")
    story.switch(442, 0, "R", WORKER).wake(460, WORKER, 1).switch(465, WORKER, "S", 1).exit(470, 1, "fsync")
    worker = f"task{WORKER}[{WORKER}]"
    found = path(story, own=5)
    assert (found[f"waiting for disk of {worker}"], found[f"running of {worker}"]) == (400, 20 + 18)


def test_a_wait_inside_a_wait_is_bounded_as_well() -> None:
    # A shell waits for its child from 10 to 1400; the child sleeps from 110 to 810, then waits for a server.
    story = Story().switch(0, 0, "R", 1).enter(1, 1, "clone")
    story.add(5, 1, "sched_process_fork", child_pid=2, child_comm="child").exit(6, 1, "clone")
    story.enter(8, 1, "wait4").switch(10, 1, "S", 2)
    sleeping(story, 2, 110, 810).enter(815, 2, "recvfrom", fd=3).switch(820, 2, "S", SERVER)
    story.wake(1320, SERVER, 2).switch(1321, SERVER, "S", 2).exit(1330, 2, "recvfrom").wake(1390, 2, 1)
    story.switch(1400, 2, "S", 1).exit(1401, 1, "wait4")
    assert path(story, own=50) == {
        "waiting for timer of task2[2]": 699,
        f"waiting for task{SERVER}[{SERVER}], not recorded": 500,
        "running of task2[2]": 100 + 10 + 69,
    }


def test_what_a_task_did_before_it_waited_for_another_is_no_part_of_the_path() -> None:
    # Task 2 wakes task 1 each 1000 µs. Task 1 computes until 600: faster, it would still have to wait until then.
    story = Story().switch(0, 0, "R", 2, cpu=1).enter(1, 2, "nanosleep", cpu=1).switch(2, 2, "S", 0, cpu=1)
    story.switch(3, 0, "R", 1).enter(599, 1, "read", fd=3).switch(600, 1, "S", 0)
    story.add(1000, 0, "hrtimer_expire_entry", cpu=1, function="hrtimer_wakeup").wake(1001, 0, 2, cpu=1)
    story.add(1002, 0, "hrtimer_expire_exit", cpu=1).switch(1002, 0, "R", 2, cpu=1).exit(1003, 2, "nanosleep", cpu=1)
    story.wake(1010, 2, 1, cpu=1).switch(1011, 0, "R", 1).exit(1020, 1, "read")
    assert path(story, own=100) == {"waiting for timer of task2[2]": 998}


def test_after_a_wait_of_which_nothing_is_known_the_path_goes_on() -> None:
    story = sleeping(Story().switch(0, 0, "R", 1), 1, 10, 810)
    # Nothing is seen that wakes it.
    story.enter(815, 1, "recvfrom", fd=3).switch(820, 1, "S", 0).switch(1320, 0, "R", 1).exit(1330, 1, "recvfrom")
    assert path(story, own=100) == {"waiting for timer": 799, "unexplained": 500}


def test_tasks_that_wake_each_other_at_the_same_time() -> None:
    # So it looks where times have microseconds.
    story = (
        Story().switch(0, 0, "R", 1).switch(0, 0, "R", 2, cpu=1).enter(1, 1, "read", fd=3).enter(2, 2, "read", cpu=1)
    )
    story.switch(10, 1, "S", 0).switch(11, 2, "S", 0, cpu=1).wake(12, 2, 1, cpu=1).switch(12, 0, "R", 1)
    story.wake(12, 1, 2).switch(12, 0, "R", 2, cpu=1).exit(20, 1, "read").exit(20, 2, "read", cpu=1)
    assert sum(path(story, own=0).values()) == 20 - 1


def test_a_long_chain_of_tasks() -> None:
    # Each of them waits inside the wait of the one before.
    last = 3000
    story = Story().switch(0, 0, "R", 1)
    for tid in range(1, last):
        story.enter(3 * tid, tid, "read", fd=3).switch(3 * tid + 1, tid, "S", tid + 1)
    story.enter(3 * last, last, "write", fd=4)
    for tid in range(last - 1, 0, -1):
        at = 3 * last + 3 * (last - tid)
        story.wake(at, tid + 1, tid).switch(at + 1, tid + 1, "S", tid).exit(at + 2, tid, "read")
    assert len(path(story)) == last


AWAY = "prev_comm=a prev_pid=42 prev_prio=120 prev_state=S ==>"
BACK = "next_comm=a next_pid=42 next_prio=120"
IDLE = "prev_comm=swapper/0 prev_pid=0 prev_prio=120 prev_state=R ==>"
DISORDER = f"""\
a    42 [000]   100.000100: raw_syscalls:sys_enter: NR 0 (3, 7ffc, 1000, 0, 0, 0)
a    42 [000]   100.300000: sched:sched_switch: {AWAY} next_comm=b next_pid=43 next_prio=120
b    43 [000]   100.100000: sched:sched_waking: comm=a pid=42 prio=120 target_cpu=000
b    43 [000]   100.100200: sched:sched_switch: prev_comm=b prev_pid=43 prev_prio=120 prev_state=S ==> {BACK}
a    42 [000]   100.100300: raw_syscalls:sys_exit: NR 0 = 16
a    42 [000]   100.500100: raw_syscalls:sys_enter: NR 0 (3, 7ffc, 1000, 0, 0, 0)
a    42 [000]   100.500200: sched:sched_switch: {AWAY} next_comm=swapper/0 next_pid=0 next_prio=120
b    43 [000]   100.600200: sched:sched_waking: comm=a pid=42 prio=120 target_cpu=000
swapper/0     0 [000]   100.600300: sched:sched_switch: {IDLE} {BACK}
a    42 [000]   100.700300: raw_syscalls:sys_exit: NR 0 = 16
"""


def test_times_that_go_back_make_no_wait_negative() -> None:
    result = report(read_lines(DISORDER.splitlines(keepends=True)))
    assert [blocking.duration for blocking in result.blockings] == [0, 100_100_000]
    assert all(spent >= 0 for path in result.paths.values() for spent in path.values())
