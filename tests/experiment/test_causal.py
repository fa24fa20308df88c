"""Plans of causal profiles and what they say, on programs that are made up; nothing is run."""

import json
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from random import Random

import pytest
from rich.console import Console

from shaper.experiment import results
from shaper.experiment.causal import LEAST_BLOCKS, Causal
from shaper.experiment.classes import PacketClass, classify
from shaper.experiment.figure import draw_profile
from shaper.experiment.measures import Measure
from shaper.experiment.profile import Measured, Profile, as_json, show
from shaper.experiment.results import Result, Results
from shaper.journal import Record
from shaper.units import ms
from shaper.wire.flow import Flow
from tests.schema import schema

SYN, SYNACK, DATA, ACK = (
    PacketClass("tcp/80", direction, kind)
    for direction, kind in (("original", "syn"), ("reply", "synack"), ("original", "data"), ("reply", "pure-ack"))
)
CLASSES = [SYN, SYNACK, DATA, ACK]
Program = Callable[[float, float, float, float, Random], float]
"""How long (ms) a program takes, by how late (ms) its SYN, SYN-ACK, data and ACKs are."""


def profile(program: Program, *, spread: float = 0.2) -> Profile:
    """The profile of a made-up program whose times are disturbed by chance."""
    plan = Causal(command=("made-up",), classes=list(CLASSES))
    found, chance = Results(plan.about()), Random(7)

    for source in (plan.trials(found), plan.pairs()):
        for trial, block, levels in source:
            late = [float(levels[str(each)]) for each in CLASSES]
            value = program(late[0], late[1], late[2], late[3], chance) + chance.gauss(0, spread)
            found.of.append(
                Result(
                    trial.key, levels, block, trial.seed, trial.policies, 1.5, 0, 0, 0, 0, {},
                    {"duration": Measure(value, "ms"), "bytes": Measure(1, "")},
                )
            )  # fmt: skip
    return Profile(found)


def duration(program: Program) -> Measured:
    [found] = profile(program).measures
    return found


def values(found: Measured) -> list[float]:
    return [effect.slope.value for effect in found.effects]


def test_effects_one_after_the_other() -> None:
    found = duration(lambda syn, synack, data, ack, chance: 5 + syn + synack + 2 * data)
    assert values(found) == pytest.approx([1, 1, 2, 0], abs=0.05)
    assert [effect.is_certain for effect in found.effects] == [True, True, True, False]
    assert [effect.is_none for effect in found.effects] == [False, False, False, True]
    assert not any(effect.bends or effect.peaks for effect in found.effects)
    assert found.together.value == pytest.approx(4, abs=0.1)
    assert not found.interacts
    assert found.undisturbed == pytest.approx(5, abs=0.3)


def test_packets_that_are_waited_for_at_the_same_time() -> None:
    found = duration(lambda syn, synack, data, ack, chance: 5 + syn + max(data, ack))
    assert values(found) == pytest.approx([1, 0, 1, 1], abs=0.05)
    assert found.interacts
    [pair] = [pair for pair in found.pairs if pair.is_certain]
    assert pair.factors == (str(DATA), str(ACK))
    assert pair.beyond.value == pytest.approx(-1, abs=0.1)


def test_packets_of_which_either_is_enough() -> None:
    """As the ACK and the data behind it, either of which completes a handshake."""
    found = duration(lambda syn, synack, data, ack, chance: 5 + syn + min(data, ack))
    assert values(found) == pytest.approx([1, 0, 0, 0], abs=0.05)
    [pair] = [pair for pair in found.pairs if pair.is_certain]
    assert pair.factors == (str(DATA), str(ACK))
    assert pair.beyond.value == pytest.approx(1, abs=0.1)


def test_a_threshold_is_not_linear() -> None:
    """As a timer that expires when a packet is more than 15 ms late."""
    found = duration(lambda syn, synack, data, ack, chance: 5 + syn + (40 if ack > 15 else 0))
    assert [effect.bends for effect in found.effects] == [False, False, False, True]
    assert found.effects[3].bend.value == pytest.approx(-2, abs=0.1)


def test_two_peaks() -> None:
    """As a body that sometimes rides on the FIN."""
    found = duration(lambda syn, synack, data, ack, chance: 5 + syn + ack * chance.choice([0, 1]))
    assert found.effects[3].peaks == pytest.approx((0, 1), abs=0.05)
    assert found.effects[0].peaks is None


def test_chance_is_no_effect() -> None:
    """Of 20 profiles of a program that waits for nothing, by chance one at most finds an effect."""
    wrong = 0
    for seed in range(20):
        noise = Random(seed)

        def idle(syn: float, synack: float, data: float, ack: float, chance: Random, noise: Random = noise) -> float:
            return noise.gauss(5, 2)

        wrong += any(effect.is_certain for effect in duration(idle).effects)
    assert wrong <= 2


def test_trials_go_on_until_the_intervals_are_tight() -> None:
    def blocks(spread: float) -> int:
        found = profile(lambda syn, synack, data, ack, chance: syn, spread=spread)
        return len({result.block for result in found.results.of if result.block < 40})

    assert blocks(0.1) == LEAST_BLOCKS
    assert LEAST_BLOCKS < blocks(1) <= 40


def test_what_is_run() -> None:
    plan = Causal(command=("a",), classes=list(CLASSES), order="keep", policies=("count",), delay=5 * ms)
    block = [trial for trial, number, _ in plan.trials(Results(plan.about())) if number == 0]
    assert len({trial.key for trial in block}) == 3 + 2 * len(CLASSES)
    assert [len(trial.policies) for trial in block].count(1) == 2
    assert ("count", "late:time=10ms,classes=syn,direction=original,order=keep,port=80") in {
        trial.policies for trial in block
    }


def test_the_document_the_report_and_the_figure(tmp_path: Path) -> None:
    found = profile(lambda syn, synack, data, ack, chance: 5 + syn + max(data, ack) + 10 * (synack > 15))
    document = as_json(found)
    schema("causal").validate(document)
    assert json.loads(json.dumps(document)) == document
    out = StringIO()
    show(found, Console(file=out, width=80))
    text = out.getvalue()
    assert "made-up: 6 blocks of trials; packets 10 or 20 ms late; others may overtake them" in text
    assert "they are waited for at the same time" in text
    assert "not linear: " in text
    draw_profile(found, tmp_path / "a.svg")
    assert (tmp_path / "a.svg").stat().st_size > 10_000
    found.results.write(tmp_path / "a.parquet")
    again = Profile(results.read(tmp_path / "a.parquet"))
    assert as_json(again) == document


def record(number: int, kind: str, *, reply: bool = False) -> Record:
    ends = ("127.0.0.1", 4000, "127.0.0.1", 80)
    flow = Flow("tcp", *(ends[2:] + ends[:2])) if reply else Flow("tcp", *ends)
    return Record(number, flow, kind, "", 0, 0, 40, number, number, "sent", number, number, number, 0, ())


def test_classes() -> None:
    records = [record(1, "syn"), record(2, "synack", reply=True), record(4, "data", reply=True), record(3, "data")]
    assert [str(each) for each in classify(records).values()] == [
        "tcp/80 original syn", "tcp/80 reply synack", "tcp/80 original data", "tcp/80 reply data",
    ]  # fmt: skip
    # The SYN was not seen.
    assert str(classify([record(1, "synack", reply=True)])[1]) == "tcp/80 reply synack"
    many = classify([record(number, "data") for number in range(1, 8)], split=True)
    assert [str(many[number]) for number in (1, 4, 5, 7)] == [
        "tcp/80 original data 1", "tcp/80 original data 4", "tcp/80 original data 5 …", "tcp/80 original data 5 …",
    ]  # fmt: skip


def test_there_are_two_blocks_even_if_the_budget_is_spent() -> None:
    plan = Causal(command=("a",), classes=list(CLASSES), budget=0)
    assert {block for _, block, _ in plan.trials(Results(plan.about()))} == {0, 1}
