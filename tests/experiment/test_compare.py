"""Conditions, and the rows of a comparison of waits written by hand."""

import io
from collections.abc import Callable
from pathlib import Path

import pytest

from shaper.errors import UsageError
from shaper.experiment import netem
from shaper.experiment.compare.comparison import Comparison, findings, show
from shaper.experiment.compare.conditions import Condition, parse
from shaper.experiment.compare.plan import Compare
from shaper.experiment.compare.rows import MANY, Column, Wait, rows
from shaper.experiment.netem import StandIn
from shaper.report.output import WIDTH
from shaper.units import ms


def waits(*durations: float) -> list[Wait]:
    """A client's select and poll, a server's accept and two polls; durations in ms."""
    calls = [
        ("client", "pselect6", "handshake"),
        ("client", "poll", "end of file"),
        ("server", "accept4", "handshake"),
        ("server", "poll", "data"),
        ("server", "poll", "end of file"),
    ]
    return [
        Wait(role, role, syscall, what, round(duration * ms))
        for (role, syscall, what), duration in zip(calls, durations, strict=True)
    ]


NONE = Column(Condition("none"), [waits(0, 0, 0, 0, 0)])
NETEM = Column(Condition("netem", netem="delay 100ms"), [waits(200, 200, 300, 0, 0), waits(202, 201, 300, 0, 0.1)])
SPREAD = Column(Condition("spread", ("spread_burst",)), [waits(200, 400, 300, 99, 99), waits(200, 400, 300, 101, 99)])


def test_rows_in_order_with_medians() -> None:
    found = rows([NONE, NETEM, SPREAD])
    assert [(row.role, row.syscall, row.nth, row.hidden) for row in found] == [
        ("client", "pselect6", 1, False),
        ("client", "poll", 1, False),
        ("server", "accept4", 1, False),
        ("server", "poll", 1, True),
        ("server", "poll", 2, True),
    ]
    assert found[0].cells["netem"] == (201 * ms, 200 * ms, 202 * ms)
    assert found[3].is_hidden_in("spread", 5 * ms)
    assert not found[3].is_hidden_in("netem", 5 * ms)


def test_without_netem_nothing_is_hidden_by_it() -> None:
    assert [row.hidden for row in rows([NONE, SPREAD])] == [False] * 5


def test_a_call_that_netem_never_makes_is_hidden() -> None:
    less = Column(NETEM.condition, [waits(200, 200, 300, 0, 0)[:4]])
    assert rows([less, SPREAD])[-1].hidden


def test_what_never_waits_is_left_out() -> None:
    assert rows([NONE]) == []


def test_many_calls_of_one_name_share_a_row() -> None:
    many = [Wait("client", "client", "sendto", "space", 10 * ms)] * (MANY + 1)
    found = rows([Column(Condition("slow"), [many])])
    assert [(row.nth, row.cells["slow"].median) for row in found] == [(None, 10 * ms * (MANY + 1))]


def test_findings() -> None:
    assert findings(Comparison("netcat", [NONE, NETEM, SPREAD], 5 * ms)) == [
        "longer than under netem: client poll (end of file): 200.5 ms under netem, 400.0 ms under spread",
        "hidden by netem: server poll 1 (data): 0.0 ms under netem, 100.0 ms under spread",
        "hidden by netem: server poll 2 (end of file): 0.1 ms under netem, 99.0 ms under spread",
    ]


def test_it_fits_a_terminal() -> None:
    from rich.console import Console

    six = [Column(Condition(f"condition{number}"), SPREAD.waits) for number in range(5)]
    output = io.StringIO()
    show(Comparison("netcat", [NETEM, *six], 5 * ms), Console(file=output, width=WIDTH))
    assert max(len(line.rstrip()) for line in output.getvalue().splitlines()) <= WIDTH


def test_the_trials_of_each_block() -> None:
    conditions = [NONE.condition, NETEM.condition, SPREAD.condition]
    trials = list(Compare(conditions, 4, workload="netcat").trials())
    names = [condition.name for condition in conditions]
    for number in range(4):
        assert sorted(str(levels["condition"]) for _, block, levels in trials if block == number) == sorted(names)
    by_name = {levels["condition"]: trial for trial, _, levels in trials}
    assert [by_name[name].shaped for name in names] == [False, False, True]
    assert by_name["netem"].netem == "delay 100ms"
    assert by_name["spread"].policies == ("spread_burst",)
    assert len({trial.key for trial, _, _ in trials}) == 12


@pytest.mark.parametrize(
    ("text", "condition"),
    [
        ("none", Condition("none")),
        ("calm=none", Condition("calm")),
        ('netem:"delay 100ms, loss 1%"', Condition("netem", netem="delay 100ms loss 1%")),
        ("netem:delay 50ms | loss:1%", Condition("netem:delay 50ms | loss:1%", ("netem:delay 50ms", "loss:1%"))),
        ('netem:"delay 100ms"', Condition("netem", netem="delay 100ms")),
        ("delay:time=100ms", Condition("delay:time=100ms", ("delay:time=100ms",))),
        ("slow=delay:time=1ms", Condition("slow", ("delay:time=1ms",))),
        ("both = delay:1ms | spread_burst:gap=2ms", Condition("both", ("delay:1ms", "spread_burst:gap=2ms"))),
        ("held ACK=hold_acks", Condition("held ACK", ("hold_acks",))),
    ],
)
def test_conditions(text: str, condition: Condition) -> None:
    assert parse(text) == condition


def test_a_condition_with_an_unknown_policy() -> None:
    with pytest.raises(UsageError, match="there is no policy 'dellay'"):
        parse("slow=dellay:1ms")


@pytest.fixture
def tc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Puts a script in place of tc."""

    def put(script: str) -> None:
        (tmp_path / "tc").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "tc").chmod(0o755)

    monkeypatch.setenv("PATH", str(tmp_path))
    return put


def test_a_kernel_with_netem_is_asked_for_it(tc: Callable[[str], None], tmp_path: Path) -> None:
    tc(f'echo "$@" > {tmp_path}/given')
    assert netem.set_up("delay 100ms") is None
    assert (tmp_path / "given").read_text() == "qdisc add dev lo root netem delay 100ms\n"


def test_without_netem_the_delay_policy_stands_in(tc: Callable[[str], None]) -> None:
    tc("echo 'Error: Specified qdisc kind is unknown.' >&2; exit 2")
    assert netem.set_up("delay 100ms") == ("delay:time=100ms", "this kernel has no netem")
    with pytest.raises(UsageError, match="no netem, and only `delay TIME` has a stand-in, not 'loss 5%'"):
        netem.set_up("loss 5%")


def test_without_tc_it_stands_in_too(tc: Callable[[str], None]) -> None:
    assert str(netem.set_up("delay 100ms")) == "no tc here; delay:time=100ms stands in"


def test_what_tc_refuses_is_the_users_mistake(tc: Callable[[str], None]) -> None:
    tc("echo 'What is \"dlay\"?' >&2; exit 1")
    with pytest.raises(UsageError, match=r'netem dlay 3ms: What is "dlay"\?'):
        netem.set_up("dlay 3ms")


def test_a_condition_says_what_it_does() -> None:
    assert str(NETEM.condition) == "netem delay 100ms"
    assert str(NONE.condition) == "not shaped"
    stands_in = Condition("netem", ("delay:1ms",), "delay 1ms", str(StandIn("delay:1ms", "no tc here")))
    assert str(stands_in) == "netem delay 1ms (no tc here; delay:1ms stands in)"
    assert str(parse("x=delay:1ms | spread_burst")) == "delay:1ms | spread_burst"
