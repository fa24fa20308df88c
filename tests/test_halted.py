"""A guardian that was halted together with its engine doesn't take the engine for dead."""

import os
import signal
import socket
import subprocess
import sys
import time

# Watches this process, with a watchdog of 400 ms, and prints why it has to be rescued.
WATCH = """
import os, socket, sys
from shaper.live.rules.owner import Owner
from shaper.live.guardian.rescue import GuardianOrder, watch
beats = socket.socket(fileno=int(sys.argv[1]))
print(watch(beats, GuardianOrder(0, Owner.here(1), {}, 400_000_000, os.getppid())))
"""


def test_a_pause_a_little_longer_than_the_watchdog_is_no_silence() -> None:
    """As when a container is paused; the guardian has a CPU first when it goes on."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        with theirs:
            command = [sys.executable, "-c", WATCH, str(theirs.fileno())]
            process = subprocess.Popen(command, pass_fds=[theirs.fileno()], stdout=subprocess.PIPE, text=True)
        ours.send(b"look")  # an answer shows that it watches
        assert ours.recv(1 << 12)
        time.sleep(0.1)  # it waits again
        os.kill(process.pid, signal.SIGSTOP)
        time.sleep(0.6)
        os.kill(process.pid, signal.SIGCONT)
        time.sleep(0.05)
        ours.send(b"bye")
        assert process.communicate(timeout=20)[0] == "None\n"
