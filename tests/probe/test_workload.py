"""Workloads: found by name or file, with options as those of policies."""

from pathlib import Path

import pytest

from shaper.errors import UsageError
from shaper.probe.ends.workload import load, names

WORKLOAD = """\
from shaper.probe import Workload

class Ping(Workload):
    {option}

    def server(self, end): ...
    def client(self, end): ...
"""


@pytest.mark.parametrize("name", names())
def test_those_that_come_with_shaper_load(name: str) -> None:
    assert type(load(name)).__module__ == f"shaper.probe.workloads.{name}"


def test_an_option_without_annotation_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "ping.py"
    file.write_text(WORKLOAD.format(option="rounds = 3"))
    message = r"ping\.py: Ping.rounds has no annotation, so it is no option: write rounds: int = 3, or call it _rounds"
    with pytest.raises(UsageError, match=message):
        load(str(file))
    file.write_text(WORKLOAD.format(option="rounds: int = 3"))
    assert vars(load(f"{file}:rounds=5")) == {"rounds": 5}


def test_an_option_given_twice_is_refused() -> None:
    with pytest.raises(UsageError, match=r"^request: option rounds is given twice; the second time as '2'$"):
        load("request:rounds=1,rounds=2")
