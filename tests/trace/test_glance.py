"""The glance at a command: few lines, which add up to its duration. Times in µs, as in the stories."""

import json
from io import StringIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from shaper.trace.analysis.tasks import Task
from shaper.trace.glance import LINES, Glance, Line, few
from shaper.trace.report import TraceReport, report
from shaper.trace.show import Detail, as_json, show
from shaper.units import ms, us
from tests.schema import schema
from tests.trace.conftest import Shaper
from tests.trace.network import ENGINE, Network
from tests.trace.test_run import NETCAT

SHELL, CLIENT = 1, 2


def connecting(*, dropped: bool = False) -> TraceReport:
    """A shell starts a client, and waits for it; the client connects, which takes 200 ms, and ends."""
    network = Network()
    network.add(0, 0, "task", pid=SHELL, of=SHELL, comm="sh", parent=0).switch(0, 0, "R", SHELL)
    network.enter(1, SHELL, "clone").add(10, SHELL, "sched_process_fork", child_pid=CLIENT, child_comm="sh")
    network.exit(11, SHELL, "clone").enter(12, SHELL, "wait4").switch(20, SHELL, "S", CLIENT)
    network.enter(30, CLIENT, "connect", fd=3)
    now = 100
    if dropped:
        network.send(now, CLIENT, "syn", length=60, seq=10, dropped=True, policy="loss")
    else:
        network.send(now, CLIENT, "syn", length=60, seq=10, hold=100_000)
    network.switch(110, CLIENT, "S", ENGINE)
    if dropped:
        now = 1_000_100
        network.timer(now - 1).send(now, 0, "syn", length=60, seq=10, hold=100_000)
    delivered = now + 4 + 100_000
    answer = network.send(delivered + 3, ENGINE, "synack", length=60, seq=50, ack=11, back=True, hold=100_000)
    network.deliver(answer, CLIENT)
    end = answer.begin // us + 500
    network.wake(end, CLIENT, SHELL).switch(end + 5, CLIENT, "X", SHELL).enter(end + 10, SHELL, "exit_group")
    return report(network.ordered(), network.records)


def printed(result: TraceReport, detail: Detail = "path") -> list[str]:
    out = StringIO()
    show(result, Console(file=out, width=80, highlight=False), detail)
    return out.getvalue().splitlines()


def test_it_says_which_policy_held_which_packets_of_which_service() -> None:
    result = connecting()
    assert result.glance is not None
    assert result.glance.lines[0].what == "held by delay: handshake of tcp 80"
    first = result.glance.lines[0]
    assert (first.duration, first.count, first.longest) == (200_000 * us, 2, ("#2", 100_000 * us))
    assert sum(line.duration for line in result.glance.lines) == result.glance.duration == result.last - result.first


def test_it_names_what_was_lost() -> None:
    lines = printed(connecting(dropped=True), "glance")
    assert lines[0] == "task1[1] took 1201 ms:"
    assert lines[1] == "    1000  lost and sent again: SYN #1 (loss) 1000 ms"
    assert lines[2] == "     200  held by delay: handshake of tcp 80, 2 packets, the longest #3 100 ms"


def test_the_waits_on_the_path_come_after_it_and_the_rest_if_asked_for() -> None:
    result = connecting()
    alone, path, everything = (printed(result, detail) for detail in ("glance", "path", "all"))
    assert path[: len(alone)] == everything[: len(alone)] == alone
    assert any("connect 3" in line for line in path)
    assert "--all" in path[-1]
    assert any("Critical path of" in line for line in everything)
    assert not any("Critical path of" in line for line in path)


def test_the_document_has_it() -> None:
    document = as_json(connecting(dropped=True))
    schema("report").validate(json.loads(json.dumps(document)))
    assert document["glance"]["lines"][0]["lost"] == [{"packet": "SYN #1 (loss)", "ms": pytest.approx(1000)}]
    assert {row["syscall"]: row["on_path"] for row in document["blockings"]} == {"wait4": True, "connect": True}


def test_without_a_single_command_there_is_none() -> None:
    network = Network()
    for tid in (SHELL, CLIENT):
        network.enter(1 + tid, tid, "read", fd=0).switch(10 + tid, tid, "S", 0)
    result = report(network.ordered())
    assert result.glance is None
    assert printed(result) == printed(result, "all")


@given(st.lists(st.integers(0, 10**10), min_size=1, max_size=LINES))
def test_the_printed_lines_add_up(durations: list[int]) -> None:
    lines = [Line(f"line {number}", duration) for number, duration in enumerate(durations)]
    header, *shown = Glance(Task(1, "sh", 0), sum(durations), lines).printed()
    total = float(header.split()[-2])
    assert sum(float(line.split()[0]) for line in shown) == pytest.approx(total)
    assert abs(total - sum(durations) / ms) <= (0.5 if sum(durations) >= 100 * ms else 0.05)


HELD = [f"held by {policy}: {group}" for policy in ("delay", "spread_burst") for group in ("data", "handshake", "ACKs")]


@given(st.dictionaries(st.sampled_from([*HELD, "timers", "disk"]), st.integers(0, 10**10)))
def test_what_is_left_over_is_one_line(durations: dict[str, int]) -> None:
    lines = few(Line(what, duration) for what, duration in durations.items())
    assert len(lines) == min(LINES, len(durations))
    assert sum(line.duration for line in lines) == sum(durations.values())
    assert all(line.tasks.total() == line.duration for line in lines if line.what == "everything else")


def test_a_command(shaper: Shaper, tmp_path: Path) -> None:
    document = shaper("run", "--policy", "delay:50ms", "--glance", "--", "sh", "-c", NETCAT)["trace"]
    glance = document["glance"]
    assert glance["task"] == "sh"
    assert len(glance["lines"]) <= LINES
    assert sum(line["ms"] for line in glance["lines"]) == pytest.approx(glance["ms"])
    held = sum(line["ms"] for line in glance["lines"] if line["what"].startswith("held by delay"))
    assert 180 < held < 260
