"""What --vary means."""

import pytest

from shaper.errors import UsageError
from shaper.experiment.factors import parse


@pytest.mark.parametrize(
    ("text", "name", "unit", "values", "levels"),
    [
        ("delay:time=0..20ms/3", "delay:time", "ms", ("0", "10ms", "20ms"), (0, 10, 20)),
        ("delay:time=1ms..100ms/3log", "delay:time", "ms", ("1ms", "10ms", "100ms"), (1, 10, 100)),
        ("delay:only=syn+fin,time=5ms,7us", "delay:only=syn+fin,time", "ms", ("5ms", "7us"), (5, 0.007)),
        ("loss:probability=0,1%,5%", "loss:probability", "%", ("0", "1%", "5%"), (0, 1, 5)),
        ("delay:order=keep,free", "delay:order", "text", ("keep", "free"), ("keep", "free")),
        ("rate:rate=1mbit,2mbit", "rate:rate", "rate", ("1mbit", "2mbit"), (1e6, 2e6)),
        ("workload:rounds=1..3/3", "workload:rounds", "number", ("1", "2", "3"), (1, 2, 3)),
    ],
)
def test_values(text: str, name: str, unit: str, values: tuple[str, ...], levels: tuple[float, ...]) -> None:
    factor = parse(text, "request")
    assert (factor.name, factor.unit, factor.values) == (name, unit, values)
    assert factor.levels == pytest.approx(levels)
    assert factor.spec(values[0]) == f"{name.removeprefix('workload:')}={values[0]}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("delay", "is not POLICY:OPTION=VALUES"),
        ("delay:20ms", "is not POLICY:OPTION=VALUES"),
        ("dealy:time=1ms,2ms", "there is no policy 'dealy'"),
        ("delay:tiem=1ms,2ms", r"delay has no option 'tiem' \(did you mean 'time'\?\)"),
        ("delay:only=sin,time=1ms,2ms", "'sin' is no segment class"),
        ("delay:time=1,2", "1"),
        ("delay:time=1ms", "two different values"),
        ("delay:time=1ms,2ms,1ms", "none twice"),
        ("delay:time=0..20ms/1", "a range has 2 to 1000 values, not 1"),
        ("delay:time=0..20ms/5log", "has no 0 in it"),
        ("delay:order=keep..free/2", "has no ranges"),
        ("workload:rounds=1,2", "name it with --workload"),
    ],
)
def test_what_is_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse(text)
