"""Plans of causal profiles and what they say, on programs that are made up; nothing is run."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from pathlib import Path
from random import Random

import pytest
from rich.console import Console

from shaper.experiment import causal, results
from shaper.experiment.causal import LEAST_BLOCKS, PREDICTIONS, Causal
from shaper.experiment.classes import PacketClass, classify
from shaper.experiment.effects import Measured
from shaper.experiment.figure import draw_profile
from shaper.experiment.measures import Measure
from shaper.experiment.profile import Profile, as_json, show
from shaper.experiment.results import Result, Results
from shaper.experiment.trial import Outcome
from shaper.journal import Record
from shaper.report.blocking import Blocking, HoldPart
from shaper.units import ms
from shaper.wire.flow import Flow
from tests.schema import schema

SYN, SYNACK, DATA, ACK = (
    PacketClass("tcp/80", direction, kind)
    for direction, kind in (("original", "syn"), ("reply", "synack"), ("original", "data"), ("reply", "pure-ack"))
)
SUMMARY = {
    "wanted_hold": {"p50_ms": 0}, "actual_hold": {"p50_ms": 0}, "lateness": {"p99_ms": 0}, "bypassed": 0,
    "cut_short": 0, "lost_queue_full": 0, "lost_buffer_full": 0, "lost_to_reload": 0, "policy_failures": 0,
}  # fmt: skip
CLASSES = [SYN, SYNACK, DATA, ACK]
Program = Callable[[float, float, float, float, Random], float]
"""How long (ms) a program takes, by how late (ms) its SYN, SYN-ACK, data and ACKs are."""


def profile(program: Program, *, spread: float = 0.2, classes: int = len(CLASSES)) -> Profile:
    """The profile of a made-up program whose times are disturbed by chance; it has the first classes only."""
    plan = Causal(command=("made-up",), classes=CLASSES[:classes])
    found, chance = Results(plan.about()), Random(7)

    for source in (plan.trials(found), plan.curves(found), plan.pairs(found)):
        for trial, block, levels in source:
            late = [float(levels.get(str(each), 0)) for each in CLASSES]
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


def test_a_pair_of_two_classes() -> None:
    [found] = profile(lambda syn, synack, data, ack, chance: 5 + max(syn, synack), classes=2).measures
    [pair] = found.pairs
    assert pair.is_certain
    assert pair.beyond.value == pytest.approx(-1, abs=0.1)


def test_a_threshold_is_not_linear() -> None:
    """As a timer that expires when a packet is more than 15 ms late."""
    found = duration(lambda syn, synack, data, ack, chance: 5 + syn + (40 if ack > 15 else 0))
    assert [effect.bends for effect in found.effects] == [False, False, False, True]
    assert found.effects[3].bend.value == pytest.approx(-2, abs=0.1)
    # More delays were tried, so that it is known where the step is.
    assert [late for late, _ in found.effects[3].curve] == [2.5, 5, 7.5, 10, 15, 20]
    assert [cost.value for _, cost in found.effects[3].curve] == pytest.approx([0, 0, 0, 0, 0, 40], abs=0.5)
    assert found.effects[3].step == pytest.approx((15, 20, 40), abs=0.5)
    assert [late for late, _ in found.effects[0].curve] == [10, 20]
    assert not found.pairs


def test_a_step_on_a_slope() -> None:
    """As a response that is late, and after which a timer also expires."""
    found = duration(lambda syn, synack, data, ack, chance: 5 + syn + data + (40 if data > 6 else 0))
    assert found.effects[2].bends
    assert found.effects[2].step == pytest.approx((5, 7.5, 40), abs=1)


def test_what_is_free_for_a_while_has_no_step() -> None:
    """As data that come while the program computes for 12 ms."""
    found = duration(lambda syn, synack, data, ack, chance: 5 + syn + max(12, data))
    assert found.effects[2].bends
    assert [cost.value for _, cost in found.effects[2].curve] == pytest.approx([0, 0, 0, 0, 3, 8], abs=0.5)
    assert found.effects[2].step is None


def test_two_peaks() -> None:
    """As a body that sometimes rides on the FIN."""
    found = duration(lambda syn, synack, data, ack, chance: 5 + syn + ack * chance.choice([0, 1]))
    assert found.effects[3].peaks == pytest.approx((0, 1), abs=0.05)
    assert found.effects[0].peaks is None


@pytest.mark.parametrize("disturbed", [0.0, 0.35])
def test_chance_is_no_effect(disturbed: float) -> None:
    """Of 20 profiles of a program that waits for nothing, by chance one at most finds an effect.

    So it is on a busy machine, where a part of the trials takes longer, and none takes less.
    """
    wrong = 0
    for seed in range(20):
        noise = Random(seed)

        def idle(syn: float, synack: float, data: float, ack: float, chance: Random, noise: Random = noise) -> float:
            return noise.gauss(5, 2) + (noise.expovariate(1 / 15) if noise.random() < disturbed else 0)

        wrong += any(effect.is_certain or effect.bends for effect in duration(idle).effects)
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
    text = printed(found)
    assert "made-up: 6 blocks of trials; packets 10 or 20 ms late; others may overtake them" in text
    assert "they are waited for at the same time" in text
    assert re.search(r"^tcp/80 reply synack +- +- +not linear *$", text, re.MULTILINE)
    assert "Not linear: ms longer, by how late the packets are (ms)" in text
    assert re.search(r"^tcp/80 reply synack: a step of \+(9|10)\.\d ms between 15 and 20 ms late$", text, re.MULTILINE)
    draw_profile(found, tmp_path / "a.svg")
    assert (tmp_path / "a.svg").stat().st_size > 10_000
    found.results.write(tmp_path / "a.parquet")
    again = Profile(results.read(tmp_path / "a.parquet"))
    assert as_json(again) == document


CHAIN = ("syn", 0), ("synack", 1), ("data", 2)


def predicted(folder: Path, patch: pytest.MonkeyPatch, *, workload: str = "") -> list[Result]:
    """The results of the trials that predict, of a program that waits for SYN, SYN-ACK and data in turn."""
    plan = Causal(
        command=() if workload else ("made-up",), workload=workload, classes=list(CLASSES),
        policies=("late:time=1ms", "count"),
    )  # fmt: skip
    found = []
    for trial, block, levels in plan.predictions(folder):
        assert bool(trial.trace) is not bool(workload)
        late = [float(level) * ms for level in levels.values()]
        # The second packet is held since before the wait, and the first one was also held by a policy of all trials.
        held = [HoldPart(at, kind, f"late#{at + 2}", round(late[at] / (1 + at)), round(late[at])) for kind, at in CHAIN]
        held.append(HoldPart(0, "syn", "late", 1 * ms, 1 * ms))
        # Behind the last one, at the same time.
        held.append(HoldPart(3, "data", "late#4", round(late[2] / 20), round(late[2])))
        outcome = Outcome(0, 50 * ms, b"", b"", SUMMARY, ())
        if workload:
            outcome = replace(
                outcome, blockings=(blocking("server", "accept", held[:2]), blocking("client", "poll", held))
            )
        else:
            path = list(held)
            patch.setattr(causal, "holds_on_path", lambda trace, outcome, path=path: path)
        found.append(plan.result(trial, outcome, levels, block))
    assert len({result.key for result in found}) == PREDICTIONS * len(CLASSES)
    return found


def blocking(role: str, syscall: str, held: list[HoldPart]) -> Blocking:
    return Blocking(
        task="made-up", role=role, pid=1, tid=1, syscall=syscall, fd=3, start=0, duration=50 * ms, waited_for="network",
        waker=None, held=tuple(held),
    )  # fmt: skip


def of(found: list[Result], measure: str) -> dict[str, set[float]]:
    """The predictions for a measure, of each class."""
    values: dict[str, set[float]] = {}
    for result in found:
        assert result.measures.keys() & {"duration", "bytes"} == set(), "tracing changes the times"
        for name, value in result.measures.items():
            if name.startswith(f"{measure} <- "):
                values.setdefault(name.partition(" <- tcp/80 ")[2], set()).add(round(value.value, 3))
    return values


def test_a_traced_command_predicts_its_effects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chain = {"original syn": {1.0}, "reply synack": {1.0}, "original data": {1.0}, "reply pure-ack": {0.0}}
    assert of(predicted(tmp_path, monkeypatch), "duration") == chain
    workload = predicted(tmp_path, monkeypatch, workload="request")
    assert of(workload, "duration") == of(workload, "client poll") == chain
    assert of(workload, "server accept") == chain | {"original data": {0.0}}


def test_what_is_not_as_predicted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a program that waits for its ACKs and not for its data, whatever its traced path says."""
    found = profile(lambda syn, synack, data, ack, chance: 5 + syn + synack + ack)
    assert not any(effect.differs for effect in found.measures[0].effects)
    found.results.of += predicted(tmp_path, monkeypatch)
    again = Profile(found.results)
    assert [effect.predicted for effect in again.measures[0].effects] == pytest.approx([1, 1, 1, 0], abs=0.01)
    assert [effect.differs for effect in again.measures[0].effects] == [False, False, True, True]
    text = printed(again)
    assert "Not as predicted: tcp/80 original data, 0.00 and not 1.00: with all packets" in text
    assert "Not as predicted: tcp/80 reply pure-ack, 1.00 and not 0.00: with all packets" in text
    assert "No prediction" not in text
    assert "\nNo prediction: tracing needs root\n" in printed(Profile(found.results, "tracing needs root"))


def printed(found: Profile) -> str:
    out = StringIO()
    show(found, Console(file=out, width=80))
    return out.getvalue()


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
