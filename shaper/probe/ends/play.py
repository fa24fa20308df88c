"""What an end does once it has been forked: it plays its role, and writes down its calls.

A line on its input lets it begin. The server then says on its output that it listens;
the rest of the output is its calls, and at last what went wrong, if something did.
"""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from shaper.errors import ShaperError
from shaper.probe.ends.calls import CallRecorder, TimeIsUp
from shaper.probe.ends.end import End
from shaper.probe.ends.realtime import set_realtime
from shaper.probe.ends.workload import load
from shaper.units import s

HOST, PORT = "127.0.0.1", 8765


@dataclass(frozen=True)
class ProbePlan:
    """What the ends are to do.

    Attributes:
        workload: its name and options (see `shaper.probe.ends.workload.load`).
        host, port: of the server.
        timeout: the longest that either end plays, in ns.
    """

    workload: str = "netcat"
    host: str = HOST
    port: int = PORT
    timeout: int = 10 * s


def main(role: str, script: ProbePlan, source: int, target: int) -> NoReturn:
    """The life of an end after the fork; nothing of its parent may run on in here.

    Args:
        source, target: descriptors of its input and its output.
    """
    status = 1
    try:
        os.dup2(source, 0)
        os.dup2(target, 1)
        # The other ends' pipes too: they must close when their owners do.
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))
        set_realtime()
        # The name that ps, strace and the kernel's tracer show for this process.
        Path("/proc/self/comm").write_text(role)
        with open(1, "w", closefd=False) as output:
            recorder = CallRecorder(output)
            recorder.note(why=play(recorder, role, script))
        status = 0
    except Exception:
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(status)


def play(recorder: CallRecorder, role: str, script: ProbePlan) -> str | None:
    """Play the role to its end; what went wrong, if something did."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGALRM, _time_is_up)
    try:
        workload, end = load(script.workload), End(recorder, script.host, script.port)
        if not os.read(0, 1):
            return "it was not let go"
        signal.setitimer(signal.ITIMER_REAL, script.timeout / s)
        (workload.server if role == "server" else workload.client)(end)
    except TimeIsUp:
        return f"its {script.timeout / s:g} s were over"
    except OSError as error:
        return error.strerror or str(error)
    except ShaperError as error:
        return str(error)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return None


def _time_is_up(number: int, frame: object) -> None:
    raise TimeIsUp
