"""Failures are kept in files that the next hunt of the same command tries, and that `fates:` reads."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from shaper.experiment.hunt.database import Database
from shaper.experiment.hunt.plan import Found
from shaper.policy.fate import parse_fates
from shaper.spec.load import load

COMMAND = ("sh", "-c", "a && b")
ONE = parse_fates("tcp/80 #1 reply data 1: drop")
TWO = parse_fates("tcp/80 #1 reply data 1: drop; #2 original udp 1 again: hold 1.5ms")


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database(tmp_path / "not" / "yet")


def test_each_command_has_its_own(database: Database) -> None:
    path = database.keep(COMMAND, Found(TWO, "timed out", 9, 10, TWO))
    assert database.known(COMMAND) == [TWO]
    assert database.known(["sh", "-c", "a"]) == []
    assert path.read_text().splitlines()[:2] == ["# shaper hunt -- sh -c 'a && b'", "# timed out, 9 of 10"]
    assert vars(load(f"fates:{path}"))["schedule"] == TWO


def test_the_latest_comes_first_and_none_twice(database: Database) -> None:
    for number, fates in enumerate((ONE, TWO, ONE)):
        os.utime(database.keep(COMMAND, Found(fates, "exit status 1", 10, 10, fates)), (number, number))
    assert database.known(COMMAND) == [ONE, TWO]


def test_a_damaged_file_is_left_out(database: Database) -> None:
    path = database.keep(COMMAND, Found(ONE, "exit status 1", 10, 10, ONE))
    path.write_text(path.read_text().replace("data", "dat"))
    (database.folder / "other.fates").write_bytes(b"\xff\xfe")
    (database.folder / "folder.fates").mkdir()
    assert database.known(COMMAND) == []


def test_without_a_folder_there_is_nothing(database: Database) -> None:
    assert database.known(COMMAND) == []
