"""Runs a test in a process that was forked for it, inside its network.

What belongs to several tests, the fixtures of class, module, package and session, is set up and torn down in pytest's
own process, outside. What belongs to the test alone, its own fixtures included, runs inside.
"""

from __future__ import annotations

import math
import os
import pickle
import select
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any, NoReturn

import pytest
from _pytest.runner import runtestprotocol

from shaper.errors import ShaperError, UsageError
from shaper.linux.libc import PR_SET_PDEATHSIG, prctl
from shaper.network import Network
from shaper.network.waits import INTERVAL, Wait, Watch
from shaper.testing import report
from shaper.testing.plan import Plan, plan_of
from shaper.testing.shaped import Shaped, current

PATIENCE = 1.0
"""Seconds that a test's process has to end what it has begun."""
Interrupts = (KeyboardInterrupt, pytest.exit.Exception)
"""What ends the whole run, not only the test."""


@dataclass
class Came:
    """What came back from the test's process.

    Attributes:
        reports: of its phases, as data.
        warned: the arguments of `warnings.showwarning` for each warning.
        coverage: what coverage.py measured.
        interrupt: what ends the whole run.
    """

    reports: list[dict[str, Any]]
    warned: list[tuple[str, type[Warning], str, int]]
    coverage: bytes | None = None
    interrupt: BaseException | None = None


def protocol(item: pytest.Function, nextitem: pytest.Item | None) -> None:
    """The whole protocol of a test, as `pytest_runtest_protocol`."""
    hook = item.ihook
    hook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for each in _reports(item, nextitem):
        hook.pytest_runtest_logreport(report=each)
    hook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)


def _reports(item: pytest.Function, nextitem: pytest.Item | None) -> Iterator[pytest.TestReport]:
    set_up = _phase(item, "setup", lambda: _set_up(item))
    try:
        if not set_up.passed:
            yield set_up
        else:
            try:
                plan = plan_of(item)
                with _network(item, plan) as network:
                    yield from _run(item, network, plan)
            except ShaperError as error:
                yield _phase(item, "setup", partial(_refuse, item, error))
    finally:
        if item.session.shouldfail or item.session.shouldstop:
            nextitem = None  # it was the last test
        torn_down = _phase(item, "teardown", lambda: item.session._setupstate.teardown_exact(nextitem))
        item.funcargs = {}
    if not torn_down.passed or not set_up.passed:
        yield torn_down


def _phase(item: pytest.Function, when: Any, function: Callable[[], object]) -> pytest.TestReport:
    """The report of something that is done in pytest's own process."""
    captures = item.config.pluginmanager.getplugin("capturemanager")

    def captured() -> None:
        if captures is None:
            function()
        else:
            with captures.item_capture(when, item):
                function()

    call = pytest.CallInfo.from_call(captured, when=when, reraise=Interrupts)
    found: pytest.TestReport = item.ihook.pytest_runtest_makereport(item=item, call=call)
    return found


def _refuse(item: pytest.Function, error: ShaperError) -> None:
    """Skip the test, as this machine can't shape; or fail it, if that was asked for, or the test is to blame."""
    if isinstance(error, UsageError) or item.config.option.shaper_strict:
        pytest.fail(f"shaper: {error}", pytrace=False)
    pytest.skip(f"shaper: {error}")


def _set_up(item: pytest.Function) -> None:
    """Set up what belongs to several tests; what is set up already stays as it is."""
    assert item.parent is not None
    state = item.session._setupstate
    # SetupState.setup takes any node; its type says Item.
    setup: Callable[[Any], None] = state.setup
    setup(item.parent)
    if not item._request:
        item._initrequest()
    definitions = item._fixtureinfo.name2fixturedefs
    state.stack[item] = [], None  # so that it may ask for fixtures; it is set up inside
    try:
        for name in item.fixturenames:
            if name in definitions and definitions[name][-1].scope != "function":
                item.funcargs[name] = item._request.getfixturevalue(name)
        if "tmp_path" in definitions or "tmpdir" in definitions:
            # Each process would number a folder of its own.
            item._request.getfixturevalue("tmp_path_factory").getbasetemp()
    finally:
        del state.stack[item]


@contextmanager
def _network(item: pytest.Function, plan: Plan) -> Iterator[Network]:
    """The network that the test runs in: its own, or the one that stays."""
    if plan.shared is None:
        keep = item.config.option.shaper_keep
        capture, journal = (report.place(keep, item.nodeid, suffix) if keep else None for suffix in report.FILES)
        network = Network(
            *plan.policies, profile=plan.profile, seed=plan.seed, pcap=capture, journal=journal, watch=False
        )
        try:
            network.open()
            yield network
        finally:
            network.close()
        return
    try:
        plan.shared.begin_anew(plan.policies)
        yield plan.shared
    finally:
        plan.shared.begin_anew(())


def _run(item: pytest.Function, network: Network, plan: Plan) -> Iterator[pytest.TestReport]:
    must_fire = set(network.summary.stages) if plan.must_fire else set()
    since = time.monotonic_ns()
    watch = Watch(network.entrance.processes)
    came = _fork(item, network, plan, since, watch)
    if plan.shared is None:
        network.close()
    packets = network.packets_since(since)
    hook = item.config.hook
    for warned in came.warned:
        warnings.showwarning(*warned)  # pytest collects them
    _add_coverage(came.coverage)
    reports: list[pytest.TestReport] = [
        hook.pytest_report_from_serializable(config=item.config, data=data) for data in came.reports
    ]
    _check_fired(reports, network, must_fire)
    if plan.shared is None:
        _check_problems(reports, network)
    failed = [each for each in reports if each.failed]
    for each in failed:
        policies = network.policies if plan.shared is None else plan.policies
        again = report.again(item, plan.seed)
        each.sections.append(("shaper", report.text(policies, network.seed, packets, watch.waits(), again)))
    if item.config.option.shaper_keep is not None:
        report.keep(item.config.option.shaper_keep, item.nodeid, packets, has_failed=bool(failed))
    yield from reports
    if came.interrupt is not None:
        raise came.interrupt


def _check_fired(reports: list[pytest.TestReport], network: Network, must_fire: set[str]) -> None:
    """A test passes for the wrong reason if one of these stages, which its marker names, has touched no packet."""
    if not must_fire or any(each.outcome != "passed" or hasattr(each, "wasxfail") for each in reports):
        return
    for stage, reason in network.summary.touched_nothing.items():
        if stage in must_fire:
            _fail(reports, f"shaper: {stage} has touched nothing: {reason}; with fired=False, that is no failure")
            return


def _check_problems(reports: list[pytest.TestReport], network: Network) -> None:
    for problem in network.summary.problems():
        _fail(reports, f"shaper: {problem}")
        return


def _fail(reports: list[pytest.TestReport], why: str) -> None:
    for each in reports:
        if each.when == "call" and each.passed:
            each.outcome, each.longrepr = "failed", why


def _fork(item: pytest.Function, network: Network, plan: Plan, since: int, watch: Watch) -> Came:
    """Run the test in a process of its own; returns what came of it."""
    ours, theirs = Pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    timer, _ = signal.getitimer(signal.ITIMER_REAL)  # of pytest-timeout; fork(2) doesn't pass it on
    with warnings.catch_warnings():
        # Of several threads, only this one goes on in the other process; it takes no lock of theirs.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        ours.close()
        signal.setitimer(signal.ITIMER_REAL, timer)
        _be_test(item, network, plan, since, theirs)
    theirs.close()
    watch.follow(pid)
    if timer:
        signal.setitimer(signal.ITIMER_REAL, timer + PATIENCE)
    process = os.pidfd_open(pid)
    came, why = None, ""
    try:
        with ours:
            try:
                came = _listen(ours, process, watch)
            except KeyboardInterrupt:  # of all processes of a terminal, so the test's ends what it has begun
                _listen(ours, process, watch, PATIENCE)
                raise
    except pytest.fail.Exception as failed:  # the alarm of pytest-timeout, which the test's process did not heed
        why = f"shaper: {failed.msg}; the test's process did not end"
    finally:
        with suppress(ProcessLookupError):
            if came is None:
                os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        os.close(process)
    return came if came is not None else Came([_died(item, why or _end(os.waitstatus_to_exitcode(status)))], [])


def _listen(test: Connection, process: int, watch: Watch, patience: float = math.inf) -> Came | None:
    """Wait for what the test's process says, and look at what waits meanwhile; None if it died without a word.

    Args:
        test: the connection with that process.
        process: a descriptor of it.
        watch: what looks.
        patience: seconds after which it counts as dead.
    """
    poll = select.poll()
    poll.register(test, select.POLLIN)
    poll.register(process, select.POLLIN)
    give_up = time.monotonic() + patience
    while time.monotonic() < give_up:
        ready = {descriptor for descriptor, _ in poll.poll(INTERVAL * 1000)}
        if test.fileno() in ready:
            try:
                said = test.recv()
            except (EOFError, ConnectionError):
                break
            if isinstance(said, Came):
                return said
            watch.look()
            test.send(watch.waits())
        elif process in ready:
            break
        else:
            watch.look()
    return None


def _end(status: int) -> str:
    how = f"by signal {-status} ({signal.strsignal(-status)})" if status < 0 else f"with status {status}"
    return f"shaper: the test's process ended {how}"


def _died(item: pytest.Function, why: str) -> dict[str, Any]:
    died = _phase(item, "call", lambda: pytest.fail(why, pytrace=False))
    data: dict[str, Any] = item.config.hook.pytest_report_to_serializable(config=item.config, report=died)
    return data


def _be_test(item: pytest.Function, network: Network, plan: Plan, since: int, to: Connection) -> NoReturn:
    """The test's process, from its fork to its exit."""
    status = 1
    try:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        network.entrance.enter()
        network.is_inside = True

        def waits() -> list[Wait]:
            to.send("waits")
            found: list[Wait] = to.recv()
            return found

        current.shaped = Shaped(network, plan.policies, since, waits)
        to.send(_came(item))
        status = 0
    except BaseException as error:
        with suppress(Exception):
            os.write(2, f"shaper: {type(error).__name__}: {error}\n".encode())
    finally:
        os._exit(status)


def _came(item: pytest.Function) -> Came:
    """Run the test, in its process; returns what comes of it."""
    hook, state = item.config.hook, item.session._setupstate
    came = Came([], [])
    subtests = _Subtests(item)
    finalizers = {node: len(known) for node, (known, _) in state.stack.items()}
    inside: Any = item.parent  # what is above stays; the type of `runtestprotocol` says Item
    reports: list[pytest.TestReport] = []
    with warnings.catch_warnings(record=True) as warned:
        try:
            reports = runtestprotocol(item, log=False, nextitem=inside)
        except Interrupts as interrupt:
            came.interrupt = interrupt
            with suppress(Exception):
                state.teardown_exact(inside)
        _end_new(item, finalizers)
    came.warned = list(map(_plain, warned))
    for each in reports:
        # pytest itself thus lets tests fail whose subtests have failed.
        hook.pytest_report_teststatus(report=each, config=item.config)
    reports[1:1] = subtests.reports
    came.reports = [hook.pytest_report_to_serializable(config=item.config, report=each) for each in reports]
    came.coverage = _coverage()
    sys.stdout.flush()
    sys.stderr.flush()
    return came


class _Subtests:
    """A plugin that collects the reports of subtests, which else would be printed in the test's process.

    The session still gets them too, since with -x it ends a test at the first one that fails.
    """

    def __init__(self, item: pytest.Function) -> None:
        self.reports: list[pytest.TestReport] = []
        hook = item.config.hook.pytest_runtest_logreport
        for known in hook.get_hookimpls():
            if known.plugin is not item.session:
                hook._remove_plugin(known.plugin)
        item.config.pluginmanager.register(self)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Collect a report."""
        self.reports.append(report)


def _end_new(item: pytest.Function, finalizers: dict[Any, int]) -> None:
    """Tear down what the test itself has set up for several tests: other tests are in other processes."""
    for node, (known, _) in reversed(item.session._setupstate.stack.items()):
        while len(known) > finalizers.get(node, 0):
            with suppress(Exception):
                known.pop()()


def _plain(warning: warnings.WarningMessage) -> tuple[str, type[Warning], str, int]:
    """A warning as another process can be sent it."""
    category = warning.category
    with suppress(Exception):
        if pickle.loads(pickle.dumps(category)) is category:
            return str(warning.message), category, warning.filename, warning.lineno
    return f"{category.__name__}: {warning.message}", UserWarning, warning.filename, warning.lineno


def _coverage() -> bytes | None:
    """What coverage.py has measured in this process, if it is at work."""
    if "coverage" not in sys.modules:
        return None
    from coverage import Coverage

    measuring = Coverage.current()
    return None if measuring is None else measuring.get_data().dumps()


def _add_coverage(data: bytes | None) -> None:
    if data is None:
        return
    from coverage import Coverage, CoverageData

    measuring = Coverage.current()
    if measuring is not None:
        other = CoverageData(no_disk=True)
        other.loads(data)
        measuring.get_data().update(other)
