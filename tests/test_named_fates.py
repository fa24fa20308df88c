"""Fates as text: what can be written, and what is said of what can't."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from shaper.core.core import Core
from shaper.spec.load import LoadError, load, parse_options
from shaper.timeline import parse
from shaper.timeline.run import run
from tests.cores import Said, udp
from tests.cores import run as run_core

TWO = "tcp/8080 #1 reply data 2: hold 40ms; #3 original syn 1 again 2: behind 2"


def schedule(spec: str) -> list[str]:
    """The fates of the policy of this SPEC."""
    return [str(fate) for fate in vars(load(spec))["schedule"]]


@pytest.mark.parametrize("text", [TWO, TWO.replace("; ", ";"), TWO.replace("; ", "\n# found\n\n"), f'"{TWO};"'])
def test_fates_are_separated_by_semicolons_or_lines(text: str) -> None:
    assert schedule(f"fates:{text}") == TWO.split("; ")


def test_fates_may_lie_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "found #1.fates"
    file.write_text("# two\n\n" + TWO.replace("; ", "\n") + "\n")
    assert schedule(f"fates:{file}") == schedule(f'fates:schedule="{file}"') == TWO.split("; ")


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        (
            "#1 reply data 1: drop; #1 reply data 2: lose",
            "fate 2: 'lose' is no fate (drop, hold TIME, twice, behind N)",
        ),
        ("#1 reply data 1: drop\n#1 reply dat 2: drop", "line 2: 'dat' is no segment class"),
        ("#1 reply data 1: drop; #1 reply data 1: twice", "fate 2: #1 reply data 1 has a fate already"),
        ("#1 reply data 1: hold", "fate 1: 'hold' is no fate"),
        ("#1 reply data 1: hold 40", "fate 1: '40' needs a unit of time, such as 40ms"),
        ("#1 reply data 1: behind 0", "fate 1: 'behind 0' is no fate"),
        ("#1 reply data 1: drop; #1 reply data 2", "fate 2: '#1 reply data 2' is not PACKET: FATE"),
        ("reply data 1: drop", "neither fates, such as '#1 reply data 2: drop', nor a file of them: can't read"),
    ],
)
def test_an_error_says_where_it_is(text: str, wrong: str) -> None:
    with pytest.raises(LoadError, match=re.escape(f"fates: option schedule: {wrong}")):
        load(f"fates:{text}")


def test_an_error_in_a_file_names_the_line(tmp_path: Path) -> None:
    file = tmp_path / "two.fates"
    file.write_text("# two\n#1 reply data 1: drop\n#1 reply data 2: hold 1 ms\n")
    with pytest.raises(LoadError, match=rf"{file}:3: 'hold 1 ms' is no fate"):
        load(f"fates:{file}")
    file.write_text("# none\n")
    with pytest.raises(LoadError, match=rf"{file} has no fates"):
        load(f"fates:{file}")


def test_it_counts_the_fates_that_were_met() -> None:
    core = Core([load("fates:#1 original data 1: drop; #7 original data 1: drop")])
    for packet in run(parse("# pass_through\n+0 < a\n+0 > a")[0]).packets:
        core.receive(packet, 0)
    assert core.counters == {"fates": {"met": 1, "not met": 1}}


def test_other_fates_may_follow_while_packets_flow() -> None:
    """Packets keep the names that they have from the beginning of the run."""
    core = Core([load("fates:#1 original udp 1: drop; #1 original udp 7: drop")])
    found = run_packets(core, 1, 2)
    options = {"schedule": "#1 original udp 4: drop; #1 original udp 1: drop"}
    core.change("fates", parse_options(core.prototypes[0], options), 0, options)
    found += run_packets(core, 3, 4)
    assert found == [(1, "dropped", 0), (2, "sent", 0), (3, "sent", 0), (4, "dropped", 0)]
    assert core.counters == {"fates": {"met": 2, "not met": 1}}


def run_packets(core: Core, *numbers: int) -> Said:
    return run_core(core, *map(udp, numbers))
