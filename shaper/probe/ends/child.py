"""The child's side of an end: what its process does after the fork; see `processes` for the parent's side.

A byte on its input lets it begin. On its output, the server first says that it listens;
all further lines are the calls it makes, and the last one says what went wrong, if
anything did. `shaper.probe.ends.account` reads them.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import NoReturn

from shaper.errors import ShaperError
from shaper.linux.libc import CLONE_NEWNET, setns
from shaper.probe.ends.calls import CallRecorder, TimeIsUp
from shaper.probe.ends.end import End
from shaper.probe.ends.plan import ProbePlan
from shaper.probe.ends.realtime import set_realtime
from shaper.probe.ends.workload import load
from shaper.units import s


def main(role: str, plan: ProbePlan, source: int, target: int) -> NoReturn:
    """Be this end, from the fork to the exit. Nothing of the parent's code may run on in here.

    Args:
        role: "server" or "client".
        source, target: file descriptors of its input and its output.
    """
    status = 1
    try:
        for name, network in plan.networks:
            if name == role:
                setns(network, CLONE_NEWNET)
        os.dup2(source, 0)
        os.dup2(target, 1)
        # The other ends' pipes too: they must close when their owners exit.
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))
        set_realtime()
        # The name that ps, strace and the kernel's tracer show for this process.
        Path("/proc/self/comm").write_text(role)
        with open(1, "w", closefd=False) as output:
            recorder = CallRecorder(output)
            recorder.note(why=_play(recorder, role, plan))
        status = 0
    except Exception:
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(status)


def _play(recorder: CallRecorder, role: str, plan: ProbePlan) -> str | None:
    """Play the role to its end. Returns what went wrong; None if nothing did."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGALRM, _time_is_up)
    try:
        workload, end = load(plan.workload), End(recorder, plan.host, plan.port)
        if not os.read(0, 1):
            return "it was never started"
        signal.setitimer(signal.ITIMER_REAL, plan.timeout / s)
        (workload.server if role == "server" else workload.client)(end)
    except TimeIsUp:
        return f"it was not done within {plan.timeout / s:g} s"
    except OSError as error:
        return error.strerror or str(error)
    except ShaperError as error:
        return str(error)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return None


def _time_is_up(number: int, frame: object) -> None:
    raise TimeIsUp
