"""Runs a test in a process that was forked for it, inside its network.

What belongs to several tests, the fixtures of class, module, package and session, is set up and torn down in pytest's
own process, outside. What belongs to the test alone, its own fixtures included, runs inside.
"""

from __future__ import annotations

import os
import pickle
import select
import signal
import sys
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
from shaper.linux.libc import prctl
from shaper.network import Network
from shaper.testing import report
from shaper.testing.plan import Plan, plan_of
from shaper.testing.shaped import Shaped, current
from shaper.testing.waits import INTERVAL, Wait, Watch

PR_SET_PDEATHSIG = 1  # linux/prctl.h
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
            plan = plan_of(item)
            try:
                with _network(item, plan) as network:
                    yield from _run(item, network, plan)
            except ShaperError as error:
                yield _phase(item, "setup", partial(_refuse, item, error))
    finally:
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
        capture = report.place(keep, item.nodeid, ".pcapng") if keep else None
        network = Network(*plan.policies, profile=plan.profile, seed=plan.seed, pcap=capture)
        try:
            network.open()
            yield network
        finally:
            network.close()
        return
    try:
        plan.shared.replace(*plan.policies)
        yield plan.shared
    finally:
        plan.shared.release()
        plan.shared.replace()


def _run(item: pytest.Function, network: Network, plan: Plan) -> Iterator[pytest.TestReport]:
    before = len(network.packets) if plan.shared is not None else 0
    watch = Watch(network.entrance.processes)
    came = _fork(item, network, plan, before, watch)
    if plan.shared is None:
        network.close()
    packets = network.packets[before:]
    hook = item.config.hook
    for warned in came.warned:
        warnings.showwarning(*warned)  # pytest collects them
    _add_coverage(came.coverage)
    reports: list[pytest.TestReport] = [
        hook.pytest_report_from_serializable(config=item.config, data=data) for data in came.reports
    ]
    _check_fired(reports, network, plan)
    if plan.shared is None:
        _check_problems(reports, network)
    failed = [each for each in reports if each.failed]
    for each in failed:
        each.sections.append(("shaper", report.text(item, network, plan, packets, watch.waits())))
    if item.config.option.shaper_keep is not None:
        report.keep(item.config.option.shaper_keep, item.nodeid, packets, has_failed=bool(failed))
    yield from reports
    if came.interrupt is not None:
        raise came.interrupt


def _check_fired(reports: list[pytest.TestReport], network: Network, plan: Plan) -> None:
    """A test passes for the wrong reason if a policy that it names has touched no packet."""
    if not plan.must_fire or any(each.outcome != "passed" or hasattr(each, "wasxfail") for each in reports):
        return
    for stage, reason in network.summary.touched_nothing.items():
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


def _fork(item: pytest.Function, network: Network, plan: Plan, before: int, watch: Watch) -> Came:
    """Run the test in a process of its own; returns what came of it."""
    ours, theirs = Pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    with warnings.catch_warnings():
        # Of several threads, only this one goes on in the other process; it takes no lock of theirs.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        ours.close()
        _be_test(item, network, plan, before, theirs)
    theirs.close()
    process = os.pidfd_open(pid)
    try:
        with ours:
            came = _listen(ours, process, watch)
    except BaseException:
        os.kill(pid, signal.SIGKILL)
        raise
    finally:
        _, status = os.waitpid(pid, 0)
        os.close(process)
    return came if came is not None else Came([_died(item, os.waitstatus_to_exitcode(status))], [])


def _listen(test: Connection, process: int, watch: Watch) -> Came | None:
    """Wait for what the test's process says, and look at what waits meanwhile; None if it died without a word."""
    poll = select.poll()
    poll.register(test, select.POLLIN)
    poll.register(process, select.POLLIN)
    while True:
        ready = {descriptor for descriptor, _ in poll.poll(INTERVAL * 1000)}
        if test.fileno() in ready:
            try:
                said = test.recv()
            except (EOFError, ConnectionError):
                return None
            if isinstance(said, Came):
                return said
            watch.look()
            test.send(watch.waits())
        elif process in ready:
            return None
        else:
            watch.look()


def _died(item: pytest.Function, status: int) -> dict[str, Any]:
    how = f"by signal {-status} ({signal.strsignal(-status)})" if status < 0 else f"with status {status}"
    died = _phase(item, "call", lambda: pytest.fail(f"shaper: the test's process ended {how}", pytrace=False))
    data: dict[str, Any] = item.config.hook.pytest_report_to_serializable(config=item.config, report=died)
    return data


def _be_test(item: pytest.Function, network: Network, plan: Plan, before: int, to: Connection) -> NoReturn:
    """The test's process, from its fork to its exit."""
    came = Came([], [])
    try:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        network.entrance.enter()
        network.is_inside = True

        def waits() -> list[Wait]:
            to.send("waits")
            found: list[Wait] = to.recv()
            return found

        current.shaped = Shaped(network, plan.policies, before, waits)
        finalizers = {node: len(known) for node, (known, _) in item.session._setupstate.stack.items()}
        inside: Any = item.parent  # what is above stays; the type of `runtestprotocol` says Item
        try:
            with warnings.catch_warnings(record=True) as warned:
                reports = runtestprotocol(item, log=False, nextitem=inside)
                _end_new(item, finalizers)
            came.warned = list(map(_plain, warned))
        except Interrupts as interrupt:
            came.interrupt = interrupt
            reports = []
        hook = item.config.hook
        came.reports = [hook.pytest_report_to_serializable(config=item.config, report=each) for each in reports]
        came.coverage = _coverage()
        sys.stdout.flush()
        sys.stderr.flush()
        to.send(came)
    except BaseException as error:
        with suppress(Exception):
            os.write(2, f"shaper: {type(error).__name__}: {error}\n".encode())
        os._exit(1)
    finally:
        os._exit(0)


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
