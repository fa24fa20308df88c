"""What `shaper doctor` says makes packets late: machines that are folders of files, as /sys and /proc show them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from shaper.cli import main
from shaper.doctor import lateness, trial
from shaper.doctor.lateness import CpuTimes, Hint, cpu_times, hints
from shaper.linux import cpus

Machine = Callable[[dict[str, str]], Path]
CPU = "sys/devices/system/cpu"
NEVER = CpuTimes(0, 0)
ALL_ALLOWED = {"realtime": "", "2": "", "3": ""}


def stat(busy: int, stolen: int) -> str:
    """/proc/stat with a line for all CPUs and one for the first."""
    return f"cpu  {busy - 15} 1 2 4000 500 3 9 {stolen} 7 0\ncpu0 1 0 0 9 0 0 0 0 0 0\n"


def idle_state(cpu: int, number: int, name: str, latency: int, disable: int = 0) -> dict[str, str]:
    folder = f"{CPU}/cpu{cpu}/cpuidle/state{number}"
    return {f"{folder}/name": name, f"{folder}/latency": f"{latency}", f"{folder}/disable": f"{disable}"}


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Makes the files; by default all that is tried is allowed."""
    monkeypatch.setattr(trial, "scheduling", lambda cpus: ALL_ALLOWED)

    def make(files: dict[str, str]) -> Path:
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{text}\n")
        return tmp_path

    return make


def only(root: Path, since: CpuTimes = NEVER) -> Hint:
    (hint,) = hints(since, root)
    return hint


QUIET = {
    f"{CPU}/online": "0-1",
    f"{CPU}/isolated": "",
    f"{CPU}/nohz_full": "(null)",
    **idle_state(0, 0, "POLL", 0),
    **idle_state(0, 1, "haltpoll idle", 1),
    "proc/sys/kernel/sched_rt_runtime_us": "950000",
    "proc/sys/kernel/sched_rt_period_us": "1000000",
    "proc/self/cgroup": "0::/",
    "proc/stat": stat(1000, 0),
}


def test_a_virtual_machine_without_any_of_it(machine: Machine) -> None:
    assert list(hints(NEVER, machine({}))) == []
    assert list(hints(NEVER, machine(QUIET))) == []


def test_governors(machine: Machine) -> None:
    governors = {0: "powersave", 1: "performance", 2: "schedutil", 4: "powersave"}
    files = {f"{CPU}/cpufreq/policy{number}/scaling_governor": name for number, name in governors.items()}
    files |= {f"{CPU}/cpufreq/policy{number}/affected_cpus": f"{number} {number + 1}" for number in (0, 2, 4)}
    assert only(machine(files)) == Hint(
        "CPU frequency",
        "governor powersave on CPUs 0-1,4-5, governor schedutil on CPUs 2-3",
        "a CPU that was idle begins slowly, and what is due then goes on later",
        "echo performance | sudo tee /sys/devices/system/cpu/cpufreq/policy*/scaling_governor",
    )


DEEP = {
    **idle_state(0, 1, "C1", 2),
    **idle_state(0, 2, "C3", 50),
    **idle_state(0, 3, "C6", 133),
    **idle_state(1, 3, "C6", 133),
    **idle_state(1, 4, "C10", 890),
    **idle_state(1, 5, "C11", 1500, disable=1),
}


def test_deep_sleep(machine: Machine) -> None:
    assert only(machine(DEEP)) == Hint(
        "idle CPUs",
        "their deepest sleep, C10, takes 890 us to wake from",
        "a packet that comes to an idle CPU, or is due on one, is up to 890 us later",
        "echo 1 | sudo tee /sys/devices/system/cpu/cpu*/cpuidle/state[34]/disable",
    )


@pytest.mark.parametrize(("limit", "found"), [(2_000_000_000, "C10"), (200, "C6"), (133, "C6"), (132, ""), (0, "")])
def test_sleep_that_another_program_forbids(machine: Machine, limit: int, found: str) -> None:
    root = machine(DEEP)
    (root / "dev").mkdir()
    (root / "dev/cpu_dma_latency").write_bytes(limit.to_bytes(4, sys.byteorder))
    assert [hint.found.split(",")[1].strip() for hint in hints(NEVER, root)] == [found] * bool(found)


def test_no_cpu_is_kept_free(machine: Machine) -> None:
    hint = only(machine({f"{CPU}/online": "0-2,8-11", f"{CPU}/isolated": ""}))
    assert hint.found == "none: any program may run on the engine's CPU"
    assert hint.mend == "use --realtime; or boot with isolcpus=11 nohz_full=11, then use --cpu 11"


@pytest.mark.parametrize(
    ("ticking", "found"),
    [
        ("(null)", "CPUs 2-3; the timer ticks on CPUs 2-3"),
        ("3", "CPUs 2-3; the timer ticks on CPU 2"),
        ("1-3", "CPUs 2-3"),
    ],
)
def test_isolated_cpus(machine: Machine, monkeypatch: pytest.MonkeyPatch, ticking: str, found: str) -> None:
    root = machine({f"{CPU}/online": "0-3", f"{CPU}/isolated": "2-3", f"{CPU}/nohz_full": ticking})
    hint = only(root)
    assert (hint.found, hint.mend) == (found, "shaper start --cpu 2")
    monkeypatch.setattr(trial, "scheduling", lambda cpus: {"realtime": "", "2": "there is no CPU 2", "3": ""})
    assert only(root).mend == "shaper start --cpu 3"
    monkeypatch.setattr(trial, "scheduling", lambda cpus: {"realtime": "", **dict.fromkeys(map(str, cpus), "no")})
    assert only(root).found == f"{found}; this process may use none of them"


def test_real_time_is_not_permitted(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "scheduling", lambda cpus: {"realtime": "SCHED_FIFO is not permitted"})
    hint = only(machine(QUIET))
    assert (hint.name, hint.found) == ("SCHED_FIFO", "not permitted, so --realtime can't be used")


@pytest.mark.parametrize("runtime", ["-1", "950000", "1000000"])
def test_enough_time_for_real_time(machine: Machine, runtime: str) -> None:
    assert list(hints(NEVER, machine({**QUIET, "proc/sys/kernel/sched_rt_runtime_us": runtime}))) == []


def test_little_time_for_real_time(machine: Machine) -> None:
    hint = only(machine({**QUIET, "proc/sys/kernel/sched_rt_runtime_us": "400000"}))
    assert hint.found == "real-time programs may run for 400000 us of each 1000000 us"
    assert hint.mend == "sudo sysctl kernel.sched_rt_runtime_us=950000"


def test_the_smallest_quota_of_a_control_group_and_those_around_it(machine: Machine) -> None:
    files = {"proc/self/cgroup": "1:cpu:/x\n0::/pod/one/two", "sys/fs/cgroup/pod/one/cpu.max": "max 100000"}
    root = machine(files)
    assert cpus.quota(root) is None
    machine({"sys/fs/cgroup/pod/cpu.max": "150000 100000", "sys/fs/cgroup/pod/one/two/cpu.max": "200000 100000"})
    machine({"sys/fs/cpu.max": "1 100000"})  # beyond where it is mounted
    assert cpus.quota(root) == 1.5
    assert only(root).found == "this control group may use 1.5 CPUs' time (cpu.max)"


def test_steal(machine: Machine) -> None:
    root = machine({"proc/stat": stat(1000, 60)})
    assert cpu_times(root) == (1000, 60)
    # Of the 200 ticks since then in which CPUs had work, 50.
    hint = only(root, CpuTimes(850, 10))
    assert hint.found == "the host ran others in 25% of the time in which CPUs here had work"
    assert list(hints(CpuTimes(901, 59), root)) != []
    assert list(hints(CpuTimes(900, 59), root)) == []
    assert list(hints(CpuTimes(1000, 60), root)) == []


def test_they_are_printed_in_short_lines_and_change_no_status(
    namespaces: None, machine: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = machine(DEEP)
    monkeypatch.setattr(lateness, "hints", lambda since: hints(since, root))
    assert main(["doctor"]) == 0
    said = capsys.readouterr().out.split("\n\nWhat makes some packets late here:\n")[1].splitlines()
    assert said == [
        "  idle CPUs: their deepest sleep, C10, takes 890 us to wake from",
        "    a packet that comes to an idle CPU, or is due on one, is up to 890 us later",
        "    echo 1 | sudo tee /sys/devices/system/cpu/cpu*/cpuidle/state[34]/disable",
    ]


@pytest.mark.parametrize(("text", "found"), [("0-2,5", [0, 1, 2, 5]), ("7\n", [7]), ("", [])])
def test_lists_of_cpus(text: str, found: list[int]) -> None:
    assert cpus.parse(text) == found
    assert cpus.listed(found) == text.strip()
