"""The values of --cpu, a list of CPUs that this machine has, and of --workers, a number or `auto`."""

import os
from pathlib import Path

import pytest
import typer

from shaper.cli.shaping import AUTO, automatic_workers, cpu_list, worker_count
from shaper.errors import UsageError
from shaper.linux import cpus
from shaper.live.rules.rules import Match
from shaper.live.settings import Settings
from shaper.spec.load import load

LAST = max(os.sched_getaffinity(0))


def test_a_list_of_cpus() -> None:
    assert cpu_list(f"{LAST},0-{LAST}") == [LAST, *range(LAST + 1)]


@pytest.mark.parametrize("text", ["0-9999999999", "9999999999", "0,4096"])
def test_cpus_that_do_not_exist(text: str) -> None:
    with pytest.raises(UsageError, match=r"there is no CPU \d+ to run on here; there are \d"):
        cpu_list(text)


@pytest.mark.parametrize("text", ["x", "1-", "1-0", "0,,1", ""])
def test_not_a_list_of_cpus(text: str) -> None:
    with pytest.raises(UsageError, match="is not a list of CPUs, such as 1, 0,2 or 0-3"):
        cpu_list(text)


def test_a_number_of_workers() -> None:
    assert [worker_count(text) for text in ("1", "64", "auto")] == [1, 64, AUTO]


@pytest.mark.parametrize("text", ["0", "65", "-1", "1-2", "many", "", "Auto"])
def test_not_a_number_of_workers(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="is neither a number from 1 to 64 nor auto"):
        worker_count(text)


def settings(*policies: str, interface: str = "eth0", journal: Path | None = None, rules: bool = True) -> Settings:
    return Settings(
        policies=tuple(load(policy) for policy in policies),
        match=Match((interface,)),
        journal=journal,
        install_rules=rules,
    )


def test_automatic_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpus, "usable", lambda: 8)
    assert automatic_workers(settings("delay:1ms"), []) == 5
    assert automatic_workers(settings("delay:1ms"), [4, 2]) == 2
    monkeypatch.setattr(cpus, "usable", lambda: 2)
    assert automatic_workers(settings("delay:1ms"), []) == 1


def test_one_worker_where_several_would_do_something_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpus, "usable", lambda: 64)
    assert automatic_workers(settings("delay:1ms", "rate:1mbit"), []) == 1
    assert automatic_workers(settings("delay:1ms", journal=Path("j")), []) == 1
    assert automatic_workers(settings("delay:1ms", interface="lo"), []) == 1
    with pytest.raises(UsageError, match="--no-rules needs a number for --workers"):
        automatic_workers(settings("delay:1ms", rules=False), [])


def test_the_cpus_that_may_be_used_are_bounded_by_the_quota(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(64)))
    for quota, count in ((None, 64), (0.5, 1), (2.0, 2), (2.5, 3), (100.0, 64)):
        monkeypatch.setattr(cpus, "quota", lambda quota=quota: quota)
        assert cpus.usable() == count
