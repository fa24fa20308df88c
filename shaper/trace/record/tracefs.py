"""tracefs: instances of our own, each with its own buffers, events and process filter.

What others trace is not touched. The file system need not be mounted: where it isn't, a
detached mount of our own is used through /proc/self/fd (fsmount(2)).

Source: Documentation/trace/ftrace.rst, "Instances".
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from shaper.linux import proc
from shaper.linux.capabilities import CAP_SYS_ADMIN, can, in_user_namespace
from shaper.linux.libc import FSCONFIG_CMD_CREATE, FSMOUNT_CLOEXEC, FSOPEN_CLOEXEC, fsconfig, fsmount, fsopen
from shaper.trace.read.events import TraceError

PREFIX = "shaper-"


class Tracefs:
    """The file system, mounted or not.

    Attributes:
        path: where it is.

    Raises:
        TraceError: the kernel has none, or this user may not use it; one line says which.
    """

    def __init__(self) -> None:
        self._mount = -1
        if proc.in_pid_namespace():
            if not proc.is_own():
                raise TraceError(
                    "/proc is that of another PID namespace; mount this one's: `mount -t proc proc /proc`, or "
                    "`unshare --mount-proc`"
                )
            if not os.access("/proc/self/oom_score_adj", os.W_OK):
                raise TraceError(
                    "/proc can't be written, which is how tasks are found in a PID namespace; use --pid=host"
                )
        mounted = _mounted()
        if mounted is None:
            self._mount = _mount()
            mounted = Path(f"/proc/self/fd/{self._mount}")
        self.path = mounted
        if not os.access(self.path / "instances", os.W_OK):
            is_read_only = os.statvfs(self.path).f_flag & os.ST_RDONLY
            raise _refused(
                "tracefs is mounted read-only" if is_read_only else "this user may not make an instance under tracefs"
            )

    @property
    def descriptor(self) -> int | None:
        """The mount, which a process needs to see `path`; None if tracefs is mounted, and `path` needs nothing."""
        return self._mount if self._mount >= 0 else None

    def instance(self, name: str) -> Instance:
        """A new instance of this name.

        Raises:
            TraceError: it can't be made.
        """
        # All PID namespaces share the file system, and a number may be there in each.
        owner = f"{os.getpid()}.{proc.pid_namespace()}" if proc.in_pid_namespace() else str(os.getpid())
        instance = Instance(self.path / "instances" / f"{PREFIX}{owner}-{name}")
        try:
            while True:
                instance.path.mkdir()
                with ignoring_removed():
                    instance.keep()
                    break
        except PermissionError as error:
            raise TraceError(
                f"tracefs: can't make an instance ({error.strerror}); with AppArmor, start the container with "
                "`--security-opt apparmor=unconfined` (docker, podman)"
            ) from None
        except OSError as error:
            raise TraceError(f"tracefs: can't make the instance {instance.path.name} ({error.strerror})") from None
        return instance

    def remove_leftovers(self) -> None:
        """Remove the instances of recorders that are gone, those of a container that was killed among them.

        The kernel refuses it while a process has a file of the instance open.
        """
        for path in (self.path / "instances").glob(f"{PREFIX}*-*"):
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
        self._kept = -1

    def keep(self) -> None:
        """Let nobody remove it, until `release`."""
        self._kept = os.open(self.path / "tracing_on", os.O_RDONLY | os.O_CLOEXEC)

    def release(self) -> None:
        """Let others remove it again."""
        if self._kept >= 0:
            os.close(self._kept)
            self._kept = -1

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
        self.release()
        with ignoring_removed():
            self.path.rmdir()


@contextmanager
def ignoring_removed() -> Iterator[None]:
    """In here it is no error if somebody else, who found that nobody has it open, has removed the instance."""
    try:
        yield
    except OSError as error:
        # The kernel looks for the directory, and then for its buffers.
        if error.errno not in (errno.ENOENT, errno.ENODEV):
            raise


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
    """For root of a container, which flag is missing; also if it has made itself a user namespace meanwhile."""
    is_roots = Path("/proc/self/uid_map").read_text().split()[:2] == ["0", "0"]
    if os.geteuid() != 0 or not is_roots or (can(CAP_SYS_ADMIN) and not in_user_namespace()):
        return TraceError(f"tracing needs root: {why}")
    # A user namespace was needed for lack of one of them.
    also = " --cap-add NET_ADMIN --cap-add NET_RAW" if in_user_namespace() else ""
    return TraceError(
        f"{why}; start the container with `-v /sys/kernel/tracing:/sys/kernel/tracing` or "
        f"`--cap-add SYS_ADMIN{also}` (docker, podman)"
    )
