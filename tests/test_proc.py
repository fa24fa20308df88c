"""What /proc says of processes, whatever they call themselves."""

import os
import subprocess
import sys
import time

import pytest

from shaper.linux import proc


def renamed(name: bytes, program: str) -> str:
    """What a process of this name prints."""
    script = f"open('/proc/self/comm', 'wb').write({name!r}); from shaper.linux import proc; import os; {program}"
    return subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize("name", [b"a) Z (b 1 2", b"a\nb", b"() Z 1 (1)"])
def test_a_name_may_hold_anything(name: bytes) -> None:
    assert renamed(name, "print(ascii(proc.stat(os.getpid())[:3]))") == ascii((name.decode(), "R", os.getpid())) + "\n"


def test_a_name_cut_in_the_middle_of_a_character() -> None:
    name = "fünfzehn Byteü".encode()  # of which the kernel keeps 15 bytes
    shown = "print(ascii([proc.stat(os.getpid()).comm, proc.comm(os.getpid(), os.getpid()), proc.status('Name')]))"
    assert renamed(name, shown) == ascii(["fünfzehn Byte\ufffd"] * 3) + "\n"


def test_when_a_process_started() -> None:
    since_boot = time.clock_gettime(time.CLOCK_BOOTTIME)
    with subprocess.Popen(["sleep", "60"]) as child:
        started = proc.stat(child.pid).start / os.sysconf("SC_CLK_TCK")
        assert since_boot - 1 < started < since_boot + 10
        assert proc.children(os.getpid()).count(child.pid) == 1
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert proc.stat(child.pid).has_ended
    with pytest.raises(FileNotFoundError):
        proc.stat(child.pid)


def test_times_on_a_cpu() -> None:
    before = proc.schedstat(os.getpid())
    deadline = time.thread_time_ns() + 20_000_000
    while time.thread_time_ns() < deadline:
        pass
    assert proc.schedstat(os.getpid()).ran - before.ran >= 10_000_000


def test_fields_of_the_status() -> None:
    assert proc.status("Pid") == str(os.getpid())
    assert proc.status("TracerPid", os.getpid()) == "0"
    with pytest.raises(KeyError):
        proc.status("Colour")
