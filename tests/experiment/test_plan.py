"""Plans in TOML: what they say, and the one line about what is wrong in them."""

from pathlib import Path
from random import Random

import pytest

from shaper.errors import UsageError
from shaper.experiment.plan import PlanReader, read
from tests.fuzz.mutate import mutated

PLAN = r"""# how curl depends on the network
command = ["curl", "-s", "http://127.0.0.1:8000/"]
server = "python3 -m http.server"
vary = [
    "delay:time=0..100ms/5",
    "loss:probability=0,1%",
]
policy = "rate:10mbit"
measure = ['total=(?P<total>[\d.]+)']
repeat = 10
timeout = "20s"
seed = 3
mtu = 9000
at-once = 2
dask = "tcp://10.0.0.1:8786"
output = "curl.parquet"
figure = "curl.svg"
"""


def test_what_a_plan_says(tmp_path: Path) -> None:
    file = tmp_path / "plan.toml"
    file.write_text(PLAN)
    assert read(str(file)) == {
        "command": ["curl", "-s", "http://127.0.0.1:8000/"],
        "server": ["python3", "-m", "http.server"],
        "vary": ["delay:time=0..100ms/5", "loss:probability=0,1%"],
        "policy": ["rate:10mbit"],
        "measure": [r"total=(?P<total>[\d.]+)"],
        "repeat": 10,
        "timeout": "20s",
        "seed": "3",
        "mtu": 9000,
        "at_once": 2,
        "dask": "tcp://10.0.0.1:8786",
        "output": "curl.parquet",
        "figure": "curl.svg",
    }
    file.write_text('workload = "request:rounds=2"\nvary = "workload:rounds=1,2"')
    assert read(str(file)) == {"workload": "request:rounds=2", "vary": ["workload:rounds=1,2"]}
    file.write_text('vary = "workload:rounds=1,2"')
    assert read(str(file)) == {"vary": ["workload:rounds=1,2"]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('vari = "delay:time=0,1s"', "1: a plan has no 'vari' (did you mean 'vary'?); it has command, server"),
        ("repeat = 5\nvary = 3", "2: vary is a text in quotes, or a list of these"),
        ('vary = [\n"delay:time=0,1s",\n"dealy:time=0,1s",\n]', "3: vary: there is no policy 'dealy'"),
        ('vary = "delay:tmie=0,1s"', "1: vary: delay has no option 'tmie'"),
        ('policy = ["delay:20"]', "1: policy: "),
        ('workload = "nowhat"', "1: workload: there is no workload 'nowhat'"),
        ('workload = "netcat"\ncommand = "true"', "1: a plan has a command or a workload, not both"),
        ('command = ""', "1: command is a text, or a list of words in quotes"),
        ('command = "it\'s"', "1: command: No closing quotation"),
        ("command = [1]", "1: command is a text, or a list of words in quotes"),
        ("measure = 'x'", "1: measure: 'x' names no group"),
        ("repeat = 0", "1: repeat is a whole number from 1 on"),
        ("\nat-once = true", "2: at-once is a whole number from 1 on"),
        ('timeout = "20"', "1: timeout: '20' needs a unit of time"),
        ("timeout = 20", "1: timeout is a text, in quotes"),
        ("seed = 1.5", "1: a seed is a number or a text"),
        ("repeat = ", "1: Invalid value"),
    ],
)
def test_what_is_wrong_in_a_plan(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        PlanReader(text, "plan.toml").plan()
    assert str(caught.value).startswith(f"plan.toml:{message}")
    assert "\n" not in str(caught.value)


def test_files_that_are_no_plan(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no file"):
        read(str(tmp_path / "plan.toml"))
    (tmp_path / "plan.toml").write_bytes(b"\xff")
    with pytest.raises(UsageError, match="is not in UTF-8"):
        read(str(tmp_path / "plan.toml"))


def test_damaged_plans_are_read_or_refused_in_a_line(tmp_path: Path) -> None:
    random, file = Random(0), tmp_path / "plan.toml"
    refused = []
    for _ in range(300):
        file.write_bytes(mutated(PLAN.encode(), random, [b"vary", b"=", b"[", b'"', b"0..1s/3", b"1e400"]))
        try:
            read(str(file))
        except UsageError as error:
            refused.append(str(error))
    assert 100 < len(refused) < 300
    assert not [message for message in refused if "\n" in message]
