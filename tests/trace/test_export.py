"""A trace's report for other viewers: folded stacks."""

import io

from shaper.trace.export import write_folded
from tests.trace.test_glance import connecting


def test_folded_stacks_by_wait_and_packet() -> None:
    out = io.StringIO()
    report = connecting(dropped=True)
    write_folded(report.blockings, out)
    stacks = dict(line.rsplit(" ", 1) for line in out.getvalue().splitlines())
    assert stacks["task2[2];connect;lost by loss;SYN #1"] == "999994"
    assert stacks["task2[2];connect;held by delay;SYN #2"] == "100000"
    assert not any("retransmission" in stack for stack in stacks)
    total = sum(blocking.duration for blocking in report.blockings) // 1000
    assert abs(sum(map(int, stacks.values())) - total) < len(stacks)
