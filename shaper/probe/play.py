"""One end of the probe as a process: it plays the server or the client of a workload.

    python -m shaper.probe.play ROLE WORKLOAD HOST PORT SECONDS

It writes its calls to its output, a JSON line each. The server says `listening` there;
the client says `ready` and begins when a line comes on its input.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from shaper.errors import ShaperError
from shaper.probe.calls import Recorder, TimeIsUp
from shaper.probe.end import End
from shaper.probe.workload import load


def main() -> None:
    role, workload, host, port, seconds = sys.argv[1:]
    recorder = Recorder(sys.stdout)
    recorder.note(why=play(recorder, role, workload, host, int(port), float(seconds)))


def play(recorder: Recorder, role: str, workload: str, host: str, port: int, seconds: float) -> str | None:
    """Play the role to its end; what went wrong, if something did."""
    signal.signal(signal.SIGALRM, _time_is_up)
    signal.signal(signal.SIGTERM, _time_is_up)
    # The name that ps, strace and the kernel's tracer show for this process.
    Path("/proc/self/comm").write_text(role)
    try:
        script, end = load(workload), End(recorder, host, port)
        if role == "client":
            recorder.note(ready=True)
            if not sys.stdin.readline():
                return "the server never listened"
        signal.setitimer(signal.ITIMER_REAL, seconds)
        (script.server if role == "server" else script.client)(end)
    except TimeIsUp:
        return "its time was over"
    except OSError as error:
        return error.strerror or str(error)
    except ShaperError as error:
        return str(error)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return None


def _time_is_up(number: int, frame: object) -> None:
    raise TimeIsUp


if __name__ == "__main__":
    main()
