"""pytest itself inside a private network, for suites that know nothing of shaper: --shaper and --shaper-profile.

All that pytest does from its start on happens inside: fixtures of any scope, threads, programs, workers of
pytest-xdist. Tests run as they always do. Those with conditions of their own still get networks of their own.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Generator

import pytest

from shaper.errors import ShaperError, UsageError
from shaper.linux import proc
from shaper.network import Network, Packets
from shaper.network.host import leave
from shaper.network.waits import Wait
from shaper.testing import report
from shaper.testing.marks import has_own_network


def begin(config: pytest.Config) -> None:
    """Move this process into a network, for good. If this machine can't, `config.option.shaper_refused` says why.

    Raises:
        pytest.UsageError: a policy or profile can't be used, or there are several threads already.
    """
    options = config.option
    if hasattr(config, "workerinput"):  # of pytest-xdist: it was started inside
        config.pluginmanager.register(Suite(), "shaper-suite")
        return
    if len(proc.threads()) > 1:
        names = ", ".join(thread.name for thread in threading.enumerate() if thread is not threading.main_thread())
        raise pytest.UsageError(
            f"shaper: a plugin or conftest.py has started threads already ({names or 'not by Python'}), and a process "
            "with threads can't enter a network; use `shaper run --policy SPEC -- pytest` instead"
        )
    try:
        network = Network(*options.shaper, profile=options.shaper_profile, seed=options.shaper_seed)
        network.open()
    except UsageError as error:
        raise pytest.UsageError(f"shaper: {error}") from None
    except ShaperError as error:
        options.shaper_refused = str(error)
        return
    network.entrance.enter()
    network.is_inside = True
    leave()
    config.add_cleanup(network.close)
    config.pluginmanager.register(Suite(network), "shaper-suite")


class Suite:
    """The plugin that reports what the network did to a test.

    Args:
        network: None in a worker of pytest-xdist: several share one network, and its packets are anybody's.
    """

    def __init__(self, network: Network | None = None) -> None:
        self._network = network
        self._since = 0

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self) -> Generator[None, object, object]:
        """Each test begins as in a new network, so that the same happens to it when it runs alone."""
        if self._network is not None:
            try:
                self._network.begin_anew()
            except ShaperError as error:
                pytest.exit(f"shaper: {error}", returncode=pytest.ExitCode.INTERNAL_ERROR)
            self._since = time.monotonic_ns()
        return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """What a failed test's report says of the network."""
        found = yield
        if found.failed and not has_own_network(item):
            found.sections.append(("shaper", self._text(item)))
        return found

    def _text(self, item: pytest.Item) -> str:
        options = item.config.option
        packets, waits = Packets([]), list[Wait]()
        policies = (options.shaper_profile, *options.shaper) if options.shaper_profile else options.shaper
        if self._network is not None:
            packets = self._network.packets_since(self._since)
            waits = [wait for wait in self._network.blockings if wait.seen >= self._since / 1e9]
            if options.shaper_keep is not None:
                report.keep(options.shaper_keep, item.nodeid, packets, has_failed=True)
        text = report.text(policies, options.shaper_seed, packets, waits, report.again(item, options.shaper_seed))
        return text if self._network is not None else f"{text}\n(without pytest-xdist, it shows the packets)"

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Packets that were lost or passed unshaped make a run that passed fail."""
        if self._network is not None and self._network.summary.problems() and not session.exitstatus:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say what the network did in all tests together."""
        if self._network is None:
            return
        summary = self._network.summary
        terminalreporter.section("shaper")
        terminalreporter.line(f"{summary.taken:,} packets, {summary.dropped:,} of them dropped")
        for stage, reason in summary.touched_nothing.items():
            terminalreporter.line(f"{stage} touched nothing: {reason}", yellow=True)
        for problem in summary.problems():
            terminalreporter.line(problem, red=True)
