"""netem lines and what they stand for."""

import pytest

from shaper.cli import main
from shaper.spec.load import load_pipeline
from shaper.spec.netem import NetemError, expand, translate
from shaper.timeline import check, parse

LINES = {
    "delay 100ms": ["delay:time=100ms,scope=queue,order=free,limit=1000"],
    "tc qdisc add dev lo root netem delay 100ms 10ms 25%": [
        "delay:time=100ms,jitter=10ms,correlation=25%,scope=queue,order=free,limit=1000"
    ],
    "limit 50 delay 10000": ["delay:time=10ms,scope=queue,order=free,limit=50"],
    "delay 50ms 20ms distribution pareto": [
        "delay:time=50ms,jitter=20ms,distribution=pareto,scope=queue,order=free,limit=1000"
    ],
    "loss 1% duplicate 2% 50%": [
        "duplicate:probability=2%,correlation=50%,scope=queue",
        "loss:probability=1%,scope=queue",
    ],
    "loss random 0.3 25": ["loss:probability=0.3%,correlation=25%,scope=queue"],
    "loss state 2%": ["loss:model=state,p13=2%,p31=98%,p32=0%,p23=100%,p14=0%,scope=queue"],
    "loss gemodel 1% 10% 70% 0.1% ecn": [
        "loss:model=gemodel,p=1%,r=10%,bad_loss=70%,good_loss=0.1%,ecn=yes,scope=queue"
    ],
    "corrupt 0.1%": ["corrupt:probability=0.1%,scope=queue"],
    "delay 10ms reorder 25% 50% gap 5": [
        "delay:time=10ms,reorder=25%,reorder_correlation=50%,reorder_gap=5,scope=queue,order=free,limit=1000"
    ],
    "delay 10ms gap 5": ["delay:time=10ms,reorder_gap=5,reorder=100%,scope=queue,order=free,limit=1000"],
    "rate 5kbit 20 100 5": ["rate:rate=5000bit,overhead=20,cell=100,cell_overhead=5,scope=queue,limit=1000"],
    "rate 1mbit -14 delay 5ms": [
        "delay:time=5ms,scope=queue,limit=1000",
        "rate:rate=1000000bit,overhead=-14,scope=queue,limit=1000",
    ],
    "slot 800us 1ms packets 5 bytes 3000": [
        "slot:min_delay=800us,max_delay=1ms,packets=5,bytes=3000,scope=queue,limit=1000"
    ],
    "slot distribution normal 10ms 2ms": ["slot:distribution=normal,delay=10ms,jitter=2ms,scope=queue,limit=1000"],
}


@pytest.mark.parametrize("line", LINES)
def test_a_line_and_its_pipeline(line: str) -> None:
    specs = translate(line)
    assert specs == LINES[line]
    assert len(load_pipeline(specs)) == len(specs)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("dellay 10ms", "no option 'dellay' (did you mean 'delay'?)"),
        ("delay", "delay needs a value"),
        ("delay fast", "delay: 'fast' does not start with a number"),
        ("loss 200%", "loss: '200%' is not from 0% to 100%"),
        ("loss heavy 1%", "'heavy' is none of random, state, gemodel"),
        ("reorder 10%", "reorder needs a delay"),
        ("ecn", "ecn needs a loss model"),
        ("delay 10ms distribution mine", ""),
    ],
)
def test_a_bad_line(line: str, message: str) -> None:
    if message:
        with pytest.raises(NetemError) as error:
            translate(line)
        assert message in str(error.value)
    else:
        assert "distribution=mine.dist" in translate(line)[0]


def test_other_specs_stay() -> None:
    assert expand(["delay:10ms", 'netem:"loss 1%"']) == ["delay:10ms", "loss:probability=1%,scope=queue"]


def test_a_line_in_a_story() -> None:
    [story] = parse('# netem "delay 10ms reorder 100% gap 2" | pass_through\n+0 < a b c\n+0 > b\n+.010 > a c\n')
    assert check(story) is None
    assert str(parse(str(story))[0]) == str(story)


def test_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["netem", "delay 5ms loss 1%"]) == 0
    assert capsys.readouterr().out == (
        "--policy loss:probability=1%,scope=queue\n--policy delay:time=5ms,scope=queue,order=free,limit=1000\n"
    )
    assert main(["netem", "dellay 5ms"]) == 2
    assert "did you mean 'delay'?" in capsys.readouterr().err
