"""A workload under a condition: its calls' times come from its two ends."""

from __future__ import annotations

from functools import partial

from shaper.probe.compare.apart import apart
from shaper.probe.compare.conditions import Condition, prepare
from shaper.probe.compare.rows import Column, Wait
from shaper.probe.ends.plan import ProbePlan
from shaper.probe.ends.run import ProbeRun
from shaper.probe.explain.blockings import blockings


def measure_workload(condition: Condition, plan: ProbePlan, repeat: int, *, seed: str, mtu: int) -> Column:
    """Play the workload under a condition, in a network namespace of its own.

    Args:
        repeat: how many runs.
        mtu: of lo, in bytes.

    Raises:
        ShaperError: the namespace can't be made or shaped.
    """
    return apart(partial(_measure, condition, plan, repeat, seed, mtu))


def _measure(condition: Condition, plan: ProbePlan, repeat: int, seed: str, mtu: int) -> Column:
    from shaper.linux import namespace
    from shaper.probe.ends.run import probe

    namespace.enter(mtu)
    condition = prepare(condition)
    runs = probe(plan, condition.policies, scenario=condition.scenario, repeat=repeat, seed=seed)
    return Column(condition, [_waits(run) for run in runs], runs)


def _waits(run: ProbeRun) -> list[Wait]:
    return [
        Wait(each.role, each.task, each.syscall, each.waited_for, each.duration - each.before_client)
        for each in blockings(run, threshold=0)
    ]
