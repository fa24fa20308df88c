"""What on this machine makes packets late now and then, and what to do about it.

None of it keeps shaper from working, and none of it is a fault: these are hints. All but what was tried is read
below a folder, which is / but for tests.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from shaper.doctor import trial
from shaper.linux import cpus
from shaper.linux.capabilities import CAP_SYS_NICE, remedy
from shaper.linux.cpus import ROOT
from shaper.linux.scheduling import PRIORITY

CPU = "sys/devices/system/cpu"
SLOW = 50
"""Microseconds: from an idle state that takes longer to leave, packets are later than shaper itself makes them."""
NO_LIMIT = 2_000_000_000
"""Microseconds; PM_QOS_CPU_LATENCY_DEFAULT_VALUE in include/linux/pm_qos.h."""
ENOUGH_CPUS = 4
"""With fewer, none can be kept free: the engine needs one, the traffic another, and so does the rest of the machine."""
STOLEN = 0.01
"""The share of the time in which CPUs had work; less is no more than a clock tick in a short look."""
RESERVED = 0.05
"""The share of the time that the kernel keeps by default for what isn't real-time: sched(7), `sched_rt_runtime_us`."""


@dataclass(frozen=True)
class Hint:
    """One thing that makes packets late.

    Attributes:
        name: what it is.
        found: how it is on this machine.
        effect: what that does to packets.
        mend: the command that changes it, or what to do.
    """

    name: str
    found: str
    effect: str
    mend: str


class CpuTimes(NamedTuple):
    """Time of all CPUs together since boot, in clock ticks; see /proc/stat in proc(5).

    Attributes:
        busy: they worked.
        stolen: they had work, but the host of this virtual machine ran something else.
    """

    busy: int
    stolen: int


def cpu_times(root: Path = ROOT) -> CpuTimes:
    """The times until now; a machine without /proc/stat has none."""
    with suppress(OSError):
        user, nice, system, _idle, _iowait, irq, softirq, steal, *_guests = map(
            int, (root / "proc/stat").read_text().splitlines()[0].split()[1:]
        )
        return CpuTimes(user + nice + system + irq + softirq, steal)
    return CpuTimes(0, 0)


def hints(since: CpuTimes, root: Path = ROOT) -> Iterator[Hint]:
    """All hints for this machine.

    Args:
        since: the times when the look at them began; what the host takes before it isn't seen.
        root: files are read below this folder.
    """
    isolated = _cpus(root / CPU / "isolated")
    tried = trial.in_child(lambda: trial.scheduling(isolated))
    for found in (
        _frequency(root),
        _idle_states(root),
        _isolation(root, isolated, tried),
        _realtime(tried),
        _realtime_share(root),
        _quota(root),
        _steal(since, cpu_times(root)),
    ):
        if found is not None:
            yield found


def _read(path: Path) -> str:
    """A file's text without the line's end; empty if there is none, as many machines lack what others have."""
    with suppress(OSError):
        return path.read_text().strip()
    return ""


def _cpus(path: Path) -> list[int]:
    """The CPUs that a file lists; some kernels write "(null)" for none."""
    text = _read(path)
    return cpus.parse(text) if text[:1].isdigit() else []


def _frequency(root: Path) -> Hint | None:
    """See Documentation/admin-guide/pm/cpufreq.rst of the kernel."""
    slow: dict[str, list[int]] = {}
    for policy in sorted((root / CPU / "cpufreq").glob("policy*")):
        governor = _read(policy / "scaling_governor")
        if governor not in ("", "performance"):
            slow.setdefault(governor, []).extend(map(int, _read(policy / "affected_cpus").split()))
    if not slow:
        return None
    return Hint(
        "CPU frequency",
        ", ".join(f"governor {governor} on {_named(of)}" for governor, of in sorted(slow.items())),
        "a CPU that was idle begins slowly, and what is due then goes on later",
        f"echo performance | sudo tee /{CPU}/cpufreq/policy*/scaling_governor",
    )


def _idle_states(root: Path) -> Hint | None:
    """See Documentation/admin-guide/pm/cpuidle.rst of the kernel, and "PM QoS" there for /dev/cpu_dma_latency."""
    limit = NO_LIMIT
    with suppress(OSError):
        limit = int.from_bytes((root / "dev/cpu_dma_latency").read_bytes()[:4], sys.byteorder, signed=True)
    deep: dict[str, tuple[int, str]] = {}
    for state in (root / CPU).glob("cpu[0-9]*/cpuidle/state*"):
        latency = int(_read(state / "latency") or 0)
        if SLOW < latency <= limit and _read(state / "disable") == "0":
            there = latency, _read(state / "name")
            deep[state.name] = max(there, deep.get(state.name, there))
    if not deep:
        return None
    latency, name = max(deep.values())
    numbers = "".join(sorted(state.removeprefix("state") for state in deep))
    return Hint(
        "idle CPUs",
        f"their deepest sleep, {name}, takes {latency} us to wake from",
        f"a packet that comes to an idle CPU, or is due on one, is up to {latency} us later",
        f"echo 1 | sudo tee /{CPU}/cpu*/cpuidle/state[{numbers}]/disable",
    )


def _isolation(root: Path, isolated: list[int], tried: trial.Outcomes) -> Hint | None:
    """See isolcpus and nohz_full in Documentation/admin-guide/kernel-parameters.txt of the kernel."""
    online = _cpus(root / CPU / "online")
    if not isolated:
        if len(online) < ENOUGH_CPUS:
            return None
        last = online[-1]
        return Hint(
            "isolated CPUs",
            "none: any program may run on the engine's CPU",
            "a packet that is due meanwhile waits, for some ms on a busy machine",
            f"use --realtime; or boot with isolcpus={last} nohz_full={last}, then use --cpu {last}",
        )
    usable = [cpu for cpu in isolated if not tried.get(str(cpu))]
    ticking = set(isolated).difference(_cpus(root / CPU / "nohz_full"))
    found = f"{_named(isolated)}{f'; the timer ticks on {_named(ticking)}' if ticking else ''}"
    if not usable:
        return Hint(
            "isolated CPUs",
            f"{found}; this process may use none of them",
            "the engine shares its CPU with other programs, and waits for them",
            "start shaper where its cpuset has them; see cpuset.cpus in cgroups(7)",
        )
    return Hint(
        "isolated CPUs",
        found,
        "no other program makes packets late there, but the engine goes there only if asked",
        f"shaper start --cpu {usable[0]}",
    )


def _realtime(tried: trial.Outcomes) -> Hint | None:
    if not tried.get("realtime"):
        return None
    return Hint(
        "SCHED_FIFO",
        "not permitted, so --realtime can't be used",
        "on a busy machine a packet that is due waits for other programs, for some ms",
        f"{remedy(CAP_SYS_NICE)}; or have root set the limit: `ulimit -r {PRIORITY}`",
    )


def _realtime_share(root: Path) -> Hint | None:
    """See sched_rt_runtime_us in sched(7)."""
    runtime = _read(root / "proc/sys/kernel/sched_rt_runtime_us")
    period = int(_read(root / "proc/sys/kernel/sched_rt_period_us") or 0)
    if not runtime or not 0 <= int(runtime) < period * (1 - RESERVED):
        return None
    return Hint(
        "real-time share",
        f"real-time programs may run for {runtime} us of each {period} us",
        "with --realtime, packets wait for the rest of that time if the engine is busy",
        f"sudo sysctl kernel.sched_rt_runtime_us={round(period * (1 - RESERVED))}",
    )


def _quota(root: Path) -> Hint | None:
    quota = cpus.quota(root)
    if quota is None:
        return None
    return Hint(
        "CPU quota",
        f"this control group may use {quota:g} CPUs' time (cpu.max)",
        "when that is used up, all packets wait for the next period, some 10 ms",
        "lift the limit: --cpus of docker and podman, limits.cpu in Kubernetes, CPUQuota= of systemd",
    )


def _steal(before: CpuTimes, after: CpuTimes) -> Hint | None:
    stolen, busy = after.stolen - before.stolen, after.busy - before.busy
    if stolen <= 0 or stolen < STOLEN * (busy + stolen):
        return None
    return Hint(
        "steal",
        f"the host ran others in {stolen / (busy + stolen):.0%} of the time in which CPUs here had work",
        "what is due in such a pause waits until its end, for some ms",
        "give this virtual machine CPUs of its own, or measure while its host is quiet",
    )


def _named(of: list[int] | set[int]) -> str:
    return f"CPU{'s' if len(of) > 1 else ''} {cpus.listed(of)}"
