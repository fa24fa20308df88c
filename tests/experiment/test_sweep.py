"""Plans of sweeps, their files and their reports; nothing is run."""

import json
import re
from collections import Counter
from io import StringIO
from pathlib import Path

import pytest
from pyarrow.parquet import read_schema
from rich.console import Console

from shaper.errors import ShaperError, UsageError
from shaper.experiment import results
from shaper.experiment.factors import parse
from shaper.experiment.figure import draw
from shaper.experiment.measures import Measure
from shaper.experiment.results import Result, Results
from shaper.experiment.sweep import Sweep, SweepReport
from shaper.experiment.trial import Trial
from tests.schema import schema


def sweep(*vary: str, workload: str = "", repeat: int = 3) -> Sweep:
    command = () if workload else ("true",)
    factors = tuple(parse(text, workload) for text in vary)
    return Sweep(factors, repeat, command=command, workload=workload, policies=("count",))


def done(plan: Sweep) -> Results:
    """Results in which the time is 1 + 3 x for the first factor, in ms."""
    found = Results(plan.about())
    for trial, block, levels in plan.trials():
        x = next(iter(levels.values()))
        assert isinstance(x, float)
        measures = {"duration": Measure(1 + 3 * x + 0.01 * block, "ms"), "rps": Measure(7, ""), "bytes": Measure(9, "")}
        flags = {"late": 2.5} if block == 1 else {}
        found.of.append(
            Result(trial.key, levels, block, trial.seed, trial.policies, 1.5, 0, x, x, 0.1, flags, measures)
        )
    return found


def test_each_block_has_all_conditions_in_an_order_of_its_own() -> None:
    plan = sweep("delay:time=0..20ms/5", "loss:probability=0,1%")
    planned = list(plan.trials())
    assert len(planned) == 30
    orders = [[tuple(levels.values()) for _, at, levels in planned if at == block] for block in range(3)]
    assert len({frozenset(order) for order in orders}) == 1
    assert len({tuple(order) for order in orders}) == 3
    assert planned == list(plan.trials())


def test_what_is_run() -> None:
    [*_, (trial, block, levels)] = sweep("delay:time=5ms,6ms", repeat=2).trials()
    assert trial.command == ("true",)
    assert trial.policies == ("count", f"delay:time={levels['delay:time']:g}ms")
    assert (trial.seed, block) == ("0.1", 1)
    varied = {trial.workload for trial, _, _ in sweep("workload:rounds=1,2", workload="request:response=5kb").trials()}
    assert varied == {"request:response=5kb,rounds=1", "request:response=5kb,rounds=2"}


def test_the_key_of_a_trial_is_its_content() -> None:
    assert Trial(("a", "b")).key == Trial(("a", "b")).key
    keys = {trial.key for trial in (Trial(("a",)), Trial(("a",), number=1), Trial(("a",), seed="1"), Trial(("b",)))}
    assert len(keys) == 4


def test_a_file_holds_all(tmp_path: Path) -> None:
    found = done(sweep("delay:time=0..20ms/5", "delay:order=keep,free"))
    found.of[0] = found.of[0]._replace(host="elsewhere", kernel="5.0")
    found.write(tmp_path / "a.parquet")
    again = results.read(tmp_path / "a.parquet")
    assert again.about == found.about
    assert again.of == found.of
    assert [path.name for path in tmp_path.iterdir()] == ["a.parquet"]


def test_the_document_has_the_columns_of_the_file(tmp_path: Path) -> None:
    done(sweep("delay:time=0..20ms/5")).write(tmp_path / "a.parquet")
    columns = {field.name: re.sub(r" \('\w+'\)", "", str(field.type)) for field in read_schema(tmp_path / "a.parquet")}
    text = (Path(__file__).parents[2] / "docs" / "experiments.md").read_text()
    assert columns == {**dict(re.findall(r"^\| `(\w+)` \| `(.*?)` \|", text, re.MULTILINE)), "delay:time": "double"}


def test_a_file_is_taken_up_again_only_by_its_own_sweep(tmp_path: Path) -> None:
    plan, file = sweep("delay:time=0..20ms/5"), tmp_path / "a.parquet"
    found = done(plan)
    found.write(file)
    more = Results(sweep("delay:time=0..40ms/9", repeat=9).about())
    more.resume(file)
    assert more.keys == found.keys
    with pytest.raises(UsageError, match="has the results of something else"):
        Results(sweep("loss:probability=0,1%").about()).resume(file)
    file.write_bytes(b"PAR1nonsense")
    with pytest.raises(ShaperError, match="not the results of shaper's experiments"):
        results.read(file)


def test_files_that_can_not_be_written(tmp_path: Path) -> None:
    for path, message in ((tmp_path / "a.csv", "written as .parquet"), (Path("/nowhere/a.parquet"), "no such folder")):
        with pytest.raises(UsageError, match=message):
            results.check(path)


def test_the_report() -> None:
    report = SweepReport(done(sweep("delay:time=0..20ms/5")))
    document = report.as_json()
    schema("sweep").validate(document)
    assert json.loads(json.dumps(document)) == document
    duration = report.curves[0]
    assert [point.levels["delay:time"] for point in duration.points] == [0, 5, 10, 15, 20]
    assert [point.median for point in duration.points] == pytest.approx([1.01, 16.01, 31.01, 46.01, 61.01])
    [fit] = duration.fits
    assert fit.line.slope == pytest.approx(3)
    assert fit.line.at_zero == pytest.approx(1.01)
    assert fit.knee is None
    out = StringIO()
    report.show(Console(file=out, width=80))
    assert "true: medians of 3" in out.getvalue()
    assert "5 of 15 trials: late" in out.getvalue()
    assert "bytes" not in out.getvalue()


def test_a_line_for_each_value_of_the_other_factors() -> None:
    report = SweepReport(done(sweep("delay:time=0..20ms/5", "loss:probability=0,1%")))
    assert Counter(len(curve.fits) for curve in report.curves) == {2: 3}
    assert [fit.others for fit in report.curves[0].fits] == [{"loss:probability": 0}, {"loss:probability": 1}]


@pytest.mark.parametrize("suffix", ["svg", "png", "html"])
def test_the_figure(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"figure.{suffix}"
    draw(SweepReport(done(sweep("delay:time=0..20ms/5", "delay:order=keep,free"))), file)
    assert file.stat().st_size > 10_000
