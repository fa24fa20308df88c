"""The plugin's hooks, options, marker and fixtures. pytest loads this file always, so it imports nothing large."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from shaper.testing.marks import CONDITION, EACH, MARKER, REFUSED, Condition, has_own_network

if TYPE_CHECKING:
    from shaper.network import Network
    from shaper.testing.shaped import Shaped


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("shaper", "shaper: tests in a shaped private network")
    group.addoption(
        "--shaper",
        metavar="SPEC",
        action="append",
        default=[],
        help="run pytest in a private network shaped by this policy; it shapes marked tests too",
    )
    group.addoption("--shaper-profile", metavar="NAME", help="the same, with a profile such as lte")
    group.addoption(
        "--shaper-seed", metavar="SEED", help="what decides all chance (by default another one each time, and printed)"
    )
    group.addoption("--shaper-keep", metavar="DIR", type=Path, help="keep capture and journal of failed tests in DIR")
    group.addoption(
        "--shaper-strict", action="store_true", help="tests fail, instead of being skipped, where nothing can be shaped"
    )


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Choose the seed; go inside, if all tests are to be shaped."""
    options = config.option
    options.shaper_refused = None if sys.platform == "linux" else REFUSED
    if options.shaper_seed is None:
        options.shaper_seed = str(secrets.randbelow(1_000_000))
    if hasattr(config, "workerinput"):  # of pytest-xdist: it was started inside
        options.shaper_seed, options.shaper_refused = config.workerinput["shaper"]
    if options.collectonly or not _shapes_all(config):
        return
    if not options.shaper_refused:
        from shaper.testing.suite import begin

        begin(config)
    if options.shaper_refused and options.shaper_strict:
        raise pytest.UsageError(f"shaper: {options.shaper_refused}")


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a worker of pytest-xdist what was found out."""
    options = node.config.option
    node.workerinput["shaper"] = options.shaper_seed, options.shaper_refused


def pytest_configure(config: pytest.Config) -> None:
    """Register the markers."""
    config.addinivalue_line("markers", MARKER)
    config.addinivalue_line("markers", EACH)


def _shapes_all(config: pytest.Config) -> bool:
    return bool(config.option.shaper or config.option.shaper_profile)


def pytest_report_header(config: pytest.Config) -> str | None:
    """Say how all tests are shaped."""
    options = config.option
    if _shapes_all(config):
        what = ", ".join([*([options.shaper_profile] if options.shaper_profile else []), *options.shaper])
        return f"shaper: {what}; seed {options.shaper_seed}"
    return None


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test with `shaper_each` is run once for each condition."""
    marks = list(metafunc.definition.iter_markers("shaper_each"))
    if not marks:
        return
    conditions: list[Condition] = []
    ids: list[str] = []
    for mark in reversed(marks):
        for condition in mark.args:
            policies = (condition,) if isinstance(condition, str) else tuple(condition)
            conditions.append(Condition(() if policies == ("none",) else policies))
            ids.append(",".join(policies))
        profiles = mark.kwargs.get("profile") or ()
        for profile in (profiles,) if isinstance(profiles, str) else profiles:
            conditions.append(Condition(profile=profile))
            ids.append(profile)
    metafunc.fixturenames.append(CONDITION)
    metafunc.parametrize(CONDITION, conditions, ids=ids, indirect=True)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip tests that should be shaped where nothing can be."""
    refused = item.config.option.shaper_refused
    if refused is None or not (_shapes_all(item.config) or has_own_network(item)):
        return
    if item.config.option.shaper_strict:
        pytest.fail(f"shaper: {refused}", pytrace=False)
    pytest.skip(f"shaper: {refused}")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Run a test that has its own conditions in a process of its own, inside its network."""
    if sys.platform != "linux" or not has_own_network(item):
        return None
    from shaper.testing.protocol import protocol

    protocol(item, nextitem)
    return True


@pytest.fixture
def shaper_condition(request: pytest.FixtureRequest) -> object:
    """The condition of `shaper_each` under which the test runs."""
    return getattr(request, "param", None)


@pytest.fixture
def shaper() -> Shaped:
    """The network that the test runs in: its packets so far, changes, expectations."""
    from shaper.testing.shaped import current

    if current.shaped is None:
        pytest.fail("the fixture `shaper` is for tests; a fixture that uses it must have the scope of a function")
    return current.shaped


@pytest.fixture(scope="session")
def shaper_network(request: pytest.FixtureRequest) -> Iterator[Network]:
    """A private network that stays: for servers that several tests use. A test that uses it runs inside."""
    from shaper.errors import ShaperError
    from shaper.network import Network

    network = Network(seed=request.config.option.shaper_seed, watch=False)
    try:
        network.open()
    except ShaperError as error:
        (pytest.fail if request.config.option.shaper_strict else pytest.skip)(f"shaper: {error}")
    try:
        yield network
    finally:
        network.close()
