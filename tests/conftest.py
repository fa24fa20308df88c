"""What holds for all tests."""

import os
import re
from collections.abc import Callable, Generator
from pathlib import Path

import pytest
from hypothesis import settings

# How long one example takes says nothing on a busy machine.
settings.register_profile("busy", deadline=None)
settings.load_profile("busy")

PART = 50
"""Tests of endurance do so much less than `./dev soak`."""
DOCUMENT = Path(__file__).parents[1] / "docs" / "reliability.md"
AROUND_FIGURES = re.compile(r"(?<=<!-- figures -->\n)|(?=<!-- end -->)")
ROW = re.compile(r"^\| (.*?) \| (.*) \|$", re.MULTILINE)

figures = pytest.StashKey[dict[str, str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--full", action="store_true", help="tests of endurance at full count; figures go to the documents"
    )


def pytest_configure(config: pytest.Config) -> None:
    config.stash[figures] = {}


@pytest.fixture
def count(request: pytest.FixtureRequest) -> Callable[[int], int]:
    """How many of so many a test of endurance is to do."""
    full = bool(request.config.getoption("full"))
    return lambda whole: whole if full else max(1, whole // PART)


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Notes what was measured, by name; with --full it is written to docs/reliability.md."""
    return request.config.stash[figures].__setitem__


def pytest_sessionfinish(session: pytest.Session) -> None:
    measured = session.config.stash[figures]
    if session.config.getoption("full") and measured:
        before, table, after = AROUND_FIGURES.split(DOCUMENT.read_text())
        known = dict(ROW.findall(table)[1:])
        rows = [f"| {name} | {value} |" for name, value in (known | measured).items()]
        DOCUMENT.write_text(before + "\n".join(["| what | measured |", "|---|---|", *rows, ""]) + after)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI, what can't be tested isn't tested well enough: a skipped test is a failure, with its reason."""
    report = yield
    if report.skipped and os.environ.get("CI") == "true":
        report.outcome = "failed"
        report.longrepr = f"skipped in CI: {report.longreprtext}"
    return report
