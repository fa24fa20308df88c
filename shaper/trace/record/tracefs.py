"""tracefs: instances of our own, each with its own buffers, events and process filter.

What others trace is not touched. The file system need not be mounted: where it isn't, a
detached mount of our own is used through /proc/self/fd (fsmount(2)).

Source: Documentation/trace/ftrace.rst, "Instances".
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from shaper.linux.capabilities import CAP_SYS_ADMIN, can, remedy
from shaper.linux.libc import FSCONFIG_CMD_CREATE, FSMOUNT_CLOEXEC, FSOPEN_CLOEXEC, fsconfig, fsmount, fsopen
from shaper.trace.read.events import TraceError

PREFIX = "shaper-"
PROC_PID_INIT_INO = 0xEFFF_FFFC  # include/linux/proc_ns.h
"""The inode of the first PID namespace."""


class Tracefs:
    """The file system, mounted or not.

    Attributes:
        path: where it is.

    Raises:
        TraceError: the kernel has none, or this user may not use it; one line says which.
    """

    def __init__(self) -> None:
        self._mount = -1
        if os.stat("/proc/self/ns/pid").st_ino != PROC_PID_INIT_INO:
            raise TraceError(
                "in a PID namespace, such as a container's, tasks have other numbers than the kernel's tracer gives "
                "them; start the container with --pid=host"
            )
        mounted = _mounted()
        if mounted is None:
            self._mount = _mount()
            mounted = Path(f"/proc/self/fd/{self._mount}")
        self.path = mounted
        if not os.access(self.path / "instances", os.W_OK):
            raise _refused("this user may not make an instance under tracefs")

    @property
    def descriptor(self) -> int | None:
        """The mount, which a process needs to see `path`; None if tracefs is mounted, and `path` needs nothing."""
        return self._mount if self._mount >= 0 else None

    def instance(self, name: str) -> Instance:
        """A new instance of this name.

        Raises:
            TraceError: it can't be made.
        """
        instance = Instance(self.path / "instances" / f"{PREFIX}{os.getpid()}-{name}")
        try:
            instance.path.mkdir()
        except OSError as error:
            raise TraceError(f"tracefs: can't make the instance {instance.path.name} ({error.strerror})") from None
        return instance

    def remove_leftovers(self) -> None:
        """Remove the instances of recorders that are gone."""
        for path in (self.path / "instances").glob(f"{PREFIX}*-*"):
            pid = path.name.removeprefix(PREFIX).partition("-")[0]
            if pid.isdecimal() and not Path("/proc", pid).exists():
                with suppress(OSError):
                    path.rmdir()

    def close(self) -> None:
        """Give up the mount, if it is ours."""
        if self._mount >= 0:
            os.close(self._mount)
            self._mount = -1


class Instance:
    """An instance: a directory in tracefs' instances/."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, file: str, value: str) -> None:
        """Write a setting.

        Raises:
            TraceError: the kernel refuses it or has no such file.
        """
        try:
            (self.path / file).write_text(value)
        except OSError as error:
            raise TraceError(f"tracefs: can't write '{value}' to {file} ({error.strerror})") from None

    def follow(self, tids: Iterable[int]) -> None:
        """Record only events of these threads and of all that they start."""
        self.write("options/event-fork", "1")
        self.write("set_event_pid", " ".join(map(str, tids)))

    def enable(self, events: Sequence[str]) -> list[str]:
        """Switch these events on. Returns those that this kernel has."""
        known = [event for event in events if (self.path / "events" / event).exists()]
        for event in known:
            self.write(f"events/{event}/enable", "1")
        return known

    def format(self, event: str) -> str:
        """The text that describes the event's fields; see `shaper.trace.read.ring.read_format`."""
        return (self.path / "events" / event / "format").read_text()

    def cpus(self) -> list[int]:
        """The numbers of the CPUs that have a buffer."""
        return sorted(int(path.name[3:]) for path in (self.path / "per_cpu").iterdir())

    def open_pipe(self, cpu: int) -> int:
        """A file descriptor from which the CPU's buffer is read, page by page; EAGAIN when it is empty."""
        return os.open(self.path / f"per_cpu/cpu{cpu}/trace_pipe_raw", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)

    def remove(self) -> None:
        """Remove it, unless it is gone already. All that reads it must be closed."""
        with suppress(FileNotFoundError):
            self.path.rmdir()


def obstacle() -> str | None:
    """Why this process can't trace; None if it can."""
    try:
        Tracefs().close()
    except TraceError as error:
        return str(error)
    return None


def open_marker() -> int:
    """A file descriptor of trace_marker. What is written there is in the trace of every tracer on the machine.

    Raises:
        TraceError: it can't be opened.
    """
    tracefs = Tracefs()
    try:
        return os.open(tracefs.path / "trace_marker", os.O_WRONLY | os.O_CLOEXEC)
    except OSError as error:
        raise TraceError(f"can't write marks to tracefs: trace_marker: {error.strerror}") from None
    finally:
        tracefs.close()


def _mounted() -> Path | None:
    mounts = [line.split(b" ") for line in Path("/proc/self/mounts").read_bytes().split(b"\n") if line]
    return next((Path(os.fsdecode(fields[1])) for fields in mounts if fields[2] == b"tracefs"), None)


def _mount() -> int:
    """A file descriptor of a mount that is attached nowhere."""
    try:
        context = fsopen("tracefs", FSOPEN_CLOEXEC)
        try:
            fsconfig(context, FSCONFIG_CMD_CREATE)
            return fsmount(context, FSMOUNT_CLOEXEC)
        finally:
            os.close(context)
    except OSError as error:
        if error.errno == errno.ENODEV:
            raise TraceError("this kernel has no tracefs (CONFIG_TRACING)") from None
        raise _refused(f"can't mount tracefs ({error.strerror})") from None


def _refused(why: str) -> TraceError:
    is_lacking = os.geteuid() == 0 and not can(CAP_SYS_ADMIN)  # as root has it in a container
    return TraceError(f"{why}; {remedy(CAP_SYS_ADMIN)}" if is_lacking else f"tracing needs root: {why}")
