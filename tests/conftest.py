"""What holds for all tests."""

import gc
import os
import re
import signal
import time
from collections import Counter
from collections.abc import Callable, Generator
from fcntl import LOCK_EX, LOCK_SH, LOCK_UN, flock
from importlib import import_module
from pathlib import Path

import pytest
from hypothesis import is_hypothesis_test, settings

from shaper.linux.capabilities import CAP_SYS_ADMIN, can
from tests.examples import FULL, USUAL

# Started in the background by a shell without job control, the tests would ignore SIGINT, and so would all they start.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Only one test needs this plugin, and not as one. A pytest that a test runs would take a second to load it.
os.environ["PYTEST_ADDOPTS"] = f"{os.environ.get('PYTEST_ADDOPTS', '')} -p no:schemathesis".strip()

PART, QUICK_PART = 200, 400
"""Tests of endurance do this many times less than `./dev soak`; with --quick."""
DOCUMENT = Path(__file__).parents[1] / "docs" / "reliability.md"
AROUND_FIGURES = re.compile(r"(?<=<!-- figures -->\n)|(?=<!-- end -->)")
ROW = re.compile(r"^\| (.*?) \| (.*) \|$", re.MULTILINE)

OUTSIDE = {"namespaces", "tracer", "running", "installed", "wheel_installed"}
"""Fixtures of tests that are more than Python."""

TOGETHER = {
    "tests/control/test_page.py",  # a browser
    "tests/house/test_site.py",  # the site
    "tests/kernel/test_cluster.py",  # a scheduler and its workers
}
"""Files with something that takes long to make: one process runs all their tests, so that it is made once."""
COMPILED = {"installed", "wheel_installed", "built"}
"""Fixtures of tests that need the compiled core; `./dev test` compiles it while other tests run."""

EVERY = 15
"""Seconds between lines that say how far a test of endurance is."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--full",
        action="store_true",
        help="only tests of endurance, at full count, and of examples, 15 times as many; figures go to the documents",
    )
    parser.addoption(
        "--quick", action="store_true", help="only tests that need neither namespaces nor the kernel's tracer"
    )
    parser.addoption(
        "--part", type=int, default=1, metavar="N", help="with --full: an Nth of the count; figures are only printed"
    )


def pytest_configure(config: pytest.Config) -> None:
    number = FULL // config.getoption("part") if config.getoption("full") else USUAL
    # How long one example takes says nothing on a busy machine.
    settings.register_profile("shaper", deadline=None, max_examples=max(1, number))
    settings.load_profile("shaper")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    wanted = _is_endurance if config.getoption("full") else _is_pure if config.getoption("quick") else _is_any
    config.hook.pytest_deselected(items=[item for item in items if not wanted(item)])
    items[:] = sorted(filter(wanted, items), key=_turn)


def pytest_collection_finish() -> None:
    """What was imported stays: each collection of garbage would look at all of it, a tenth of the tests' CPU time."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """The processes of pytest-xdist are given one test after the other, but the files of `TOGETHER` as a whole."""
    config.option.loadscopereorder = False
    scheduler = import_module("xdist.scheduler").LoadScopeScheduling(config, log)
    scheduler._split_scope = _scope
    return scheduler


def _scope(nodeid: str) -> str:
    file = nodeid.partition("::")[0]
    return file if file in TOGETHER else nodeid


def _turn(item: pytest.Item) -> int:
    """Which tests come first: those that run alone, long ones, the usual ones, last those that need the compiled core.

    A test that runs alone leaves most of the CPUs to the compiler and mypy, which take only what others leave.
    """
    if isinstance(item, pytest.Function) and not COMPILED.isdisjoint(item.fixturenames):
        return 4 if _is_alone(item) else 3
    if _is_alone(item):
        return 0
    return 1 if item.nodeid.partition("::")[0] in TOGETHER else 2


def _is_any(item: pytest.Item) -> bool:
    return True


def _is_endurance(item: pytest.Item) -> bool:
    return isinstance(item, pytest.Function) and ("figure" in item.fixturenames or is_hypothesis_test(item.obj))


def _is_pure(item: pytest.Item) -> bool:
    return isinstance(item, pytest.Function) and OUTSIDE.isdisjoint(item.fixturenames)


def _is_alone(item: pytest.Item) -> bool:
    return item.get_closest_marker("alone") is not None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Of the processes of pytest-xdist, none runs a test while another runs one that is marked `alone`."""
    if not hasattr(item.config, "workerinput"):
        return (yield)
    with open(__file__) as file:
        flock(file, LOCK_EX if _is_alone(item) else LOCK_SH)
        try:
            return (yield)
        finally:
            flock(file, LOCK_UN)  # a process that the test has left may have the file as well


def _is_full(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("full"))


@pytest.fixture
def namespaces() -> None:
    """For tests that make namespaces."""
    if not can(CAP_SYS_ADMIN):
        pytest.skip("makes namespaces, which needs root or user namespaces")


@pytest.fixture
def real_root() -> None:
    """For tests of what only root outside of every user namespace may do: be another user, have real-time priority."""
    if os.geteuid() != 0 or Path("/proc/self/uid_map").read_text().split() != ["0", "0", "4294967295"]:
        pytest.skip("needs real root: other users, and real-time priority")


@pytest.fixture
def count(request: pytest.FixtureRequest) -> Callable[[int], int]:
    """How many of so many a test of endurance is to do."""
    usual = QUICK_PART if request.config.getoption("quick") else PART
    part = request.config.getoption("part") if _is_full(request) else usual
    return lambda whole: max(1, whole // part)


@pytest.fixture
def say(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Prints a line at once, with --full."""
    capture = request.config.pluginmanager.getplugin("capturemanager")
    reporter = request.config.pluginmanager.getplugin("terminalreporter")

    def say(line: str) -> None:
        if _is_full(request):
            with capture.global_and_fixture_disabled():
                reporter.ensure_newline()
                reporter.write_line(f"{time.strftime('%H:%M:%S')} {line}")
                reporter.flush()

    return say


@pytest.fixture
def progress(request: pytest.FixtureRequest, say: Callable[[str], None]) -> Callable[[int, int], None]:
    """Called with how much is done, of how much; with --full it is printed now and then."""
    said = time.monotonic()

    def progress(done: int, whole: int) -> None:
        nonlocal said
        if time.monotonic() - said >= EVERY:
            said = time.monotonic()
            say(f"{request.node.name}: {done:,} of {whole:,}")

    return progress


@pytest.fixture
def figure(request: pytest.FixtureRequest, say: Callable[[str], None]) -> Callable[[str, str], None]:
    """Notes what was measured, by name; with --full it is written to docs/reliability.md, at once."""

    def figure(name: str, value: str) -> None:
        say(f"{name}: {value}")
        if _is_full(request) and request.config.getoption("part") == 1:
            before, table, after = AROUND_FIGURES.split(DOCUMENT.read_text())
            known = dict(ROW.findall(table)[1:])
            rows = [f"| {name} | {value} |" for name, value in (known | {name: value}).items()]
            DOCUMENT.write_text(before + "\n".join(["| what | measured |", "|---|---|", *rows, ""]) + after)

    return figure


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


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """How many tests were left out, and why."""
    reasons = Counter(
        report.longrepr[2].removeprefix("Skipped: ") for report in terminalreporter.stats.get("skipped", [])
    )
    for reason, number in reasons.most_common():
        terminalreporter.write_line(f"{number} tests were left out: {reason}")
