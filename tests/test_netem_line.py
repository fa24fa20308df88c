"""netem lines and what they stand for."""

from pathlib import Path

import pytest

from shaper.cli import main
from shaper.spec import tc
from shaper.spec.load import expand, load_pipeline
from shaper.spec.netem import NetemError, translate
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
    "rate 5kbit 20 100 5": ["rate:rate=5000bit,overhead=34,cell=100,cell_overhead=5,scope=queue,limit=1000"],
    "rate 1mbit -14 delay 5ms": ["delay:time=5ms,rate=1000000bit,overhead=0,scope=queue,limit=1000"],
    "slot 800us 1ms packets 5 bytes 3000": [
        "slot:min_delay=800us,max_delay=1ms,packets=5,bytes=3000,overhead=14,scope=queue,limit=1000"
    ],
    "slot 800000": ["slot:min_delay=800us,scope=queue,limit=1000"],
    "delay 10ms, loss 1%": ["loss:probability=1%,scope=queue", "delay:time=10ms,scope=queue,order=free,limit=1000"],
    "delay 10ms 5ms,loss 1%,": [
        "loss:probability=1%,scope=queue",
        "delay:time=10ms,jitter=5ms,scope=queue,order=free,limit=1000",
    ],
    "loss 1% seed 42": ["loss:probability=1%,scope=queue"],
    "delay 5ms 1ms distribution uniform": [
        "delay:time=5ms,jitter=1ms,distribution=uniform,scope=queue,order=free,limit=1000"
    ],
    "sudo tc qdisc add dev eth0 root handle 1: netem \\\n  delay 10ms \\\n  limit 10k  # slow": [
        "delay:time=10ms,scope=queue,order=free,limit=10240"
    ],
    "tc qdisc del dev eth0 root netem; tc qdisc add dev eth0 root netem loss 1% && ping -c 3 example.org": [
        "loss:probability=1%,scope=queue"
    ],
    "qdisc noqueue 0: dev lo root refcnt 2\n"
    "qdisc netem 8001: dev eth0 parent 1:1 limit 50 delay 10ms  1ms 25% rate 1Mbit packetoverhead 4 cellsize 48\n"
    " Sent 123 bytes 2 pkt (dropped 0, overlimits 0 requeues 0)\n": [
        "delay:time=10ms,jitter=1ms,correlation=25%,rate=1000000bit,overhead=18,cell=48,scope=queue,limit=50"
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
        ("delay 10ms gap 5", "tc refuses gap without reorder; for every nth packet, write reorder 100% gap 5"),
        ("delay 10ms distribution normal", "distribution needs a delay and a jitter"),
        ("loss 1% loss gemodel 1%", "tc takes one loss model a line"),
        ("loss .5%", "'.5%' must begin with a digit"),
        ("slot 2ms 1ms", "slot: max_delay 1ms is below min_delay 2ms"),
        ("slot fast", "slot: 'fast' is neither a time nor distribution"),
        ("slot distribution normal 1ms 0", "the jitter of a distribution must be above 0"),
        ("qdisc netem 1: root refcnt 2 limit 1000 slot distribution 1ms 1ms", "doesn't show which distribution"),
        ("limit ten", "limit: 'ten' does not start with a number"),
        ("limit 10x", "limit: '10x' is not a size"),
        ("limit 0", "limit: no packet may be held"),
        ("delay 1,5ms", "delay: '1,5ms' has a comma; write 1.5ms"),
        ("delay -5ms", "delay: '-5ms' is negative"),
        ("delay 1min", "delay: '1min' is not a time, such as 20ms (s, ms, us, ns)"),
        ("delay 1e900ms", "delay: '1e900ms' is out of range"),
        ("rate 10%", "rate: '10%' is a share of a device's speed"),
        ("rate 1m", "rate: '1m' is not a rate, such as 10mbit"),
        ("rate 1mbit 99999999999", "rate: '99999999999' is out of range"),
        ("delay 1ms reorder 5% gap -1", "gap: '-1' is negative"),
        ("delay 1ms reorder 5% gap 09", "gap: '09' is not a whole number"),
        ("delay $DELAY", "delay: '$DELAY' stands for a value"),
        ("<delay>", "'<delay>' stands for a value"),
        ("seed -1", "seed: '-1' is not a whole number, 0 or more"),
        ("tc qdisc add dev eth0 root tbf rate 1mbit", "there is no netem in 'tc qdisc add"),
        ("tc qdisc del dev eth0 root netem", "this line removes netem"),
        ("tc qdisc add dev a netem loss 1%\ntc qdisc add dev b netem loss 1%", "there are 2 netem lines"),
        ("delay 10ms 1ms distribution mine", ""),
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


HEADERS = {
    "a packet's time on the link has that of the Ethernet header": """
# netem "rate 1mbit"
+0       < a:udp=12 b:udp=12
+.000432 > a
+.000432 > b
""",
    "cells begin with the Ethernet header": """
# netem "rate 1mbit 0 48 5"
+0       < a:udp=12
+.000848 > a
""",
    "overhead is added to it": """
# netem "rate 1mbit -14"
+0       < a:udp=12
+.000320 > a
""",
    "slots count it": """
# netem "slot 10ms bytes 54"
+0     < a:udp=12 b:udp=12
+.010  > a
+.010  > b
""",
    "reordered packets skip the delay and the link": """
# netem "delay 20ms rate 1mbit reorder 100% gap 2"
+0       < a:udp=12 b:udp=12 c:udp=12 d:udp=12
+0       > b d
+.020432 > a
+.000432 > c
""",
    "delay and rate have one queue": """
# netem "delay 10ms rate 1mbit limit 2"
+0       < a:udp=12 b:udp=12 c:udp=12
+0       x c
+.010432 > a
+.000432 > b
""",
}


@pytest.mark.parametrize("text", HEADERS.values(), ids=HEADERS)
def test_lengths_and_queues_are_netem_s(text: str) -> None:
    """packet_time_ns(), netem_enqueue() and netem_dequeue() in net/sched/sch_netem.c; on real netem 447 us, 865 us."""
    [story] = parse(text)
    assert check(story) is None


def test_a_line_in_a_story() -> None:
    [story] = parse('# netem "delay 10ms reorder 100% gap 2" | pass_through\n+0 < a b c\n+0 > b\n+.010 > a c\n')
    assert check(story) is None
    assert str(parse(str(story))[0]) == str(story)


@pytest.mark.parametrize(
    ("word", "option"),
    [("l", "limit"), ("lat", "latency"), ("d", "delay"), ("dr", "loss"), ("s", "seed"), ("r", "reorder")],
)
def test_an_abbreviation_is_the_first_option_that_it_fits(word: str, option: str) -> None:
    """As matches() in lib/utils.c of iproute2, in the order of tc/q_netem.c."""
    values = {"limit": "5", "seed": "5", "loss": "5%", "reorder": "5%"}
    line = f"{{}} {values.get(option, '5ms')}{' delay 5ms' if option == 'reorder' else ''}"
    assert translate(line.format(word)) == translate(line.format(option))


def test_tables_of_tc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A table in the current directory comes before tc's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tc, "TABLE_PATHS", (str(tmp_path / "lib*"),))
    (tmp_path / "lib64").mkdir()
    (tmp_path / "lib64/experimental.dist").write_text("0 100\n")
    [spec] = translate("delay 10ms 1ms distribution experimental")
    assert f"distribution={tmp_path}/lib64/experimental.dist," in spec
    (tmp_path / "experimental.dist").write_text("0 100\n")
    [spec] = translate("delay 10ms 1ms distribution experimental")
    assert "distribution=experimental.dist," in spec
    assert len(load_pipeline([spec])) == 1


def test_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["netem", "delay 5ms loss 1%"]) == 0
    assert capsys.readouterr().out == (
        "--policy loss:probability=1%,scope=queue\n--policy delay:time=5ms,scope=queue,order=free,limit=1000\n"
    )
    assert main(["netem", "delay 5000 loss gemodel 2 rate 9600 slot 800000 seed 7"]) == 0
    assert [" ".join(line.split()) for line in capsys.readouterr().err.splitlines()] == [
        "delay 5000 time 5ms, since without a unit it is in us",
        "loss 2 p 2%",
        "r 98%, by default",
        "bad_loss 100%, by default",
        "good_loss 0%, by default",
        "rate 9600 rate 9.6kbit, since without a unit it is in bit/s",
        "14 bytes more for each packet: netem counts the Ethernet header",
        "slot 800000 min_delay 800us, since without a unit it is in ns",
        "seed 7 not used: here, --seed 7 decides all chance",
    ]
    assert main(["netem", "dellay 5ms"]) == 2
    assert "did you mean 'delay'?" in capsys.readouterr().err
