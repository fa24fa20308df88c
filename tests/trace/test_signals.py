"""Signals to `shaper trace` reach the command, whoever traces it."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from shaper.trace.record.tracefs import obstacle
from tests.trace.conftest import MAIN

COMMAND = (
    "trap 'echo interrupted; exit 7' INT; trap 'echo terminated; exit 8' TERM; echo ready; while :; do read x; done"
)
BY_STRACE = f"import shaper.trace.tracing as tracing; tracing.obstacle = lambda: 'not asked'; {MAIN}"


@pytest.fixture(params=["tracefs", "strace"])
def running(request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[str]]:
    why = obstacle()
    if request.param == "tracefs" and why is not None:
        pytest.skip(why)
    if request.param == "strace" and shutil.which("strace") is None:
        pytest.skip("there is no strace here")
    main = MAIN if request.param == "tracefs" else BY_STRACE
    process = subprocess.Popen(
        [sys.executable, "-c", main, "trace", "--", "bash", "-c", COMMAND],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    try:
        yield process
        process.communicate(timeout=60)
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)  # a shell that a failed test left would spin


@pytest.mark.parametrize(
    ("number", "said", "status"), [(signal.SIGTERM, "terminated\n", 8), (signal.SIGINT, "interrupted\n", 7)]
)
def test_a_signal_ends_both(running: subprocess.Popen[str], number: int, said: str, status: int) -> None:
    running.send_signal(number)
    out, _ = running.communicate(timeout=60)
    assert (out, running.returncode) == (said, status)
