"""What a hunt prints."""

from __future__ import annotations

import ast
import shlex

from shaper.experiment.hunt.plan import Found
from shaper.experiment.hunt.report import as_test, command, document, last_waits, lines, packets, rows, side_by_side
from shaper.experiment.hunt.run import End, Hunted
from shaper.experiment.trial import Outcome, Trial
from shaper.policy.fate import parse_fates
from shaper.units import ms, s
from tests.hunt.runs import EXCHANGE, outcome, record
from tests.schema import schema

FATES = parse_fates("udp/53 #1 reply udp 1: drop")
TRIAL = Trial(("./booking", "seat 4"), timeout=3400 * ms)
FAILING = outcome(
    1,
    [
        record(1, 0),
        record(2, 0.5, back=True, fate="dropped"),
        record(3, 200.6),
        record(4, 201, back=True, held=40 * ms),
    ],
    stderr=b"one\ntwo\nthree\nfour\nfive\nbooked 2 times\n",
)


def hunted(found: Found | None, *, end: End = "found", failing: Outcome | None = FAILING) -> Hunted:
    flukes = ((parse_fates("#1 original udp 1: twice"), "timed out"),)
    return Hunted(TRIAL, end, found, flukes, 19, 7_240 * ms, 2, outcome(), failing)


FOUND = hunted(Found(FATES, "exit status 1", 10, 10, FATES))


def test_the_report_of_a_failure() -> None:
    assert (
        "\n".join(lines(FOUND, "a/b.fates"))
        == """\
19 trials in 7.2 s; 2 packets in the undisturbed run
failed once, and not again (timed out): #1 original udp 1: twice

It fails (exit status 1, 10 of 10) with:

    udp/53 #1 reply udp 1: drop

The last it said:

    two
    three
    four
    five
    booked 2 times

passing run (ms)                       │ failing run (ms)
    0.0 #1 original udp 1, 10 B        │     0.0 #1 original udp 1, 10 B
────────────────────────────────────── ┼ ─────────────────────── here they part
    0.5 #1 reply udp 1, 10 B           │     0.5 #1 reply udp 1, 10 B, dropped
                                       │   200.6 #1 original udp 2, 10 B
                                       │   201.0 #1 reply udp 2, held 40 ms

To see it again:

    shaper run --policy 'fates:udp/53 #1 reply udp 1: drop' -- ./booking 'seat 4'

As a test:

    from shaper.experiment import Lab, Trial


    def test_it_withstands_this_network() -> None:
        trial = Trial(
            command=("./booking", "seat 4"),
            policies=("fates:udp/53 #1 reply udp 1: drop",),
            timeout=3_400_000_000,
        )
        with Lab() as lab:
            outcome = lab.run(trial)
        assert outcome.status == 0, outcome.stderr.decode(errors="replace")

Kept in a/b.fates; the next hunt of this command tries it first."""
    )


def test_no_failure() -> None:
    assert list(lines(hunted(None, end="budget")))[2] == "no failure in 19 trials in 7.2 s"
    assert list(lines(hunted(None, end="exhausted")))[2].endswith("7.2 s, and nothing is left to try")
    assert list(lines(hunted(None, end="interrupted")))[2].endswith("7.2 s until it was interrupted")


def test_the_document_is_as_its_schema_says() -> None:
    for each in (FOUND, hunted(None, end="budget")):
        schema("hunt").validate(document(each))
    assert document(FOUND)["found"]["fates"] == ["udp/53 #1 reply udp 1: drop"]


def blocking(tid: int, start: int, syscall: str, **other: object) -> dict[str, object]:
    """A blocking of a trace's document: 10 ms, from this time (ms) on."""
    known: dict[str, object] = {"role": "", "task": "nc", "waited_for": "network", "waker": None, "ended": True}
    times = {"tid": tid, "syscall": syscall, "start_ns": start * ms, "duration_ms": 10.0}
    return known | times | other


def test_the_last_call_of_each_thread_that_waited() -> None:
    packet = {"kind": "packet", "name": "FIN #9"}
    timer = {"kind": "hrtimer", "name": "hrtimer hrtimer_wakeup"}
    assert last_waits(
        [
            blocking(2, 40, "read", waker=packet),
            blocking(1, 10, "accept4"),
            blocking(1, 30, "poll", role="client", waited_for="timer", waker=timer),
            blocking(3, 5, "futex", waited_for="", ended=False),
        ]
    ) == [
        "nc: read 10.0 ms, for the network, woken by FIN #9",
        "client nc: poll 10.0 ms, for a timer",
        "nc: futex 10.0 ms, and still waits",
    ]
    assert "The calls that waited last:\n\n    nc: read" in "\n".join(lines(FOUND, waits=["nc: read"]))


def test_the_command_line_has_all_that_the_trial_had() -> None:
    trial = Trial(("sh", "-c", "a && b"), ("delay:1ms",), "7")
    words = shlex.split(command(trial, FATES))
    assert words[:8] == [
        "shaper",
        "run",
        "--policy",
        "fates:udp/53 #1 reply udp 1: drop",
        "--policy",
        "delay:1ms",
        "--seed",
        "7",
    ]
    assert words[8:] == ["--", "sh", "-c", "a && b"]


def test_the_test_is_the_same_trial() -> None:
    trial = Trial(("sh", "-c", 'echo "it\'s"\n'), ("delay:1ms",), "seed", timeout=2 * s)
    found: dict[str, object] = {}
    call = next(
        node for node in ast.walk(ast.parse(as_test(trial, FATES))) if isinstance(node, ast.Call) and node.keywords
    )
    for keyword in call.keywords:
        found[keyword.arg or ""] = ast.literal_eval(keyword.value)
    assert found == {
        "command": trial.command,
        "policies": ("fates:udp/53 #1 reply udp 1: drop", "delay:1ms"),
        "seed": "seed",
        "timeout": 2 * s,
    }


def test_long_runs_are_shown_around_their_parting() -> None:
    long = [record(nth, nth) for nth in range(1, 31)]
    other = [each._replace(fate="dropped") if each.id == 11 else each for each in long]
    shown = list(side_by_side(rows(long), rows(other)))
    assert shown[1].split(" │ ")[0].strip() == "7 packets before"
    assert shown[5].endswith("here they part")
    assert shown[6].endswith("10.0 #1 original udp 11, dropped")
    assert shown[-1].split(" │ ")[1].strip() == "8 more"
    assert len(shown) == 1 + 4 + 1 + 12 + 1
    assert max(map(len, shown)) <= 80


def test_without_a_fate_runs_part_where_a_packet_is_another() -> None:
    shown = list(side_by_side(rows(EXCHANGE), rows([*EXCHANGE, record(3, 9)])))
    assert shown[3].endswith("here they part")
    assert shown[4].split(" │ ")[1].strip() == "9.0 #1 original udp 2, 10 B"


def test_copies_are_shown_behind_their_packet() -> None:
    twice = [record(0, 0, fate="injected"), *EXCHANGE]
    assert [row.fate for row in rows(twice)] == ["", "a copy", ""]
    assert any("a copy, 10 B" in line for line in side_by_side(rows(EXCHANGE), rows(twice)))


def test_fates_have_the_names_of_a_journal() -> None:
    twice = [*EXCHANGE, record(0, 9, fate="injected")]
    assert list(packets(twice)) == [
        "    0.0 udp/53 #1 original udp 1, 10 B",
        "    0.5 udp/53 #1 reply udp 1, 10 B",
        "    9.0 a copy, 10 B",
    ]
