"""A command that waits until it is released, so that its first packet is shaped."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from typing import NoReturn

import trio

from shaper.linux import proc, programs
from shaper.linux.libc import prctl
from shaper.linux.signalfd import SignalFD, effective

NOT_PASSED_ON = {
    signal.SIGKILL, signal.SIGSTOP,  # can't be caught
    signal.SIGILL, signal.SIGTRAP, signal.SIGBUS, signal.SIGFPE, signal.SIGSEGV, signal.SIGSYS,  # its own faults
    signal.SIGPIPE, signal.SIGXFSZ,  # Python's errors
    signal.SIGXCPU,  # the guardian's, see shaper/live/guardian/endless.py
}  # fmt: skip
"""Signals to this process that are not for the command it runs; all others are."""
STOPPING = {signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU}
"""The signals of job control that stop a process, see "Job Control" in signal(7)."""

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def end_with_parent(number: int = signal.SIGKILL) -> None:
    """Have this process get this signal when its parent ends, however that ends."""
    parent = os.getppid()
    prctl(PR_SET_PDEATHSIG, number)
    if os.getppid() != parent:
        os.kill(os.getpid(), number)  # it ended before


class Command:
    """A child process that waits, and then runs a command.

    Args:
        command: the program and its arguments.
        prepare: called in the child before it waits.
        stdout: a descriptor for its output, if not this process's own.
        through_strace: the command is a `strace -o` that runs another one, which gets the signals: strace blocks them.

    Attributes:
        pid: of the child process.

    Raises:
        ProgramError: there is no such program, or it can't be run.
    """

    def __init__(
        self,
        command: list[str],
        *,
        prepare: Callable[[], None] | None = None,
        stdout: int | None = None,
        through_strace: bool = False,
    ) -> None:
        programs.check(command[0])
        waiting, self._gate = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self._gate)
            _run(command, prepare, stdout, waiting)
        os.close(waiting)
        self._has_ended = False
        self._through_strace = through_strace

    def release(self) -> None:
        """Let the command start."""
        with suppress(BrokenPipeError):  # a signal may have ended it while it waited
            os.write(self._gate, b"!")
        os.close(self._gate)

    def send_signal(self, number: int) -> None:
        """Send the command a signal; once `wait` has seen its end, nothing, since the pid may be another process's."""
        if not self._has_ended:
            with suppress(ProcessLookupError):
                os.kill(self._receiver(), number)

    def send_to_group(self, number: int) -> None:
        """Send a signal to all processes of the group that the command's process leads."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    def has_ended(self) -> bool:
        """Whether its process has ended."""
        with suppress(OSError):
            return proc.stat(self.pid).has_ended
        return True

    async def pass_signals_on(
        self,
        before_stop: Callable[[], None] = lambda: None,
        others: Sequence[Command] = (),
        *,
        task_status: trio.TaskStatus[None],
    ) -> None:
        """Be, for those who send signals, as if this process were the command; for `trio.Nursery.start`.

        The command gets what this process gets, except for `NOT_PASSED_ON`. What a terminal sends, such as a Ctrl-C, it
        has got already: that goes to all processes in the foreground. When the command was stopped by job control, as
        by a Ctrl-Z, this process stops too, so that the shell takes over; it goes on, as does the command, by SIGCONT.

        Args:
            before_stop: called each time before this process stops.
            others: commands that get the same signals.
        """
        asked_to_stop = 0
        with closing(SignalFD(signal.valid_signals() - NOT_PASSED_ON)) as signals:
            task_status.started()
            while True:
                await trio.lowlevel.wait_readable(signals.fileno())
                for number, code, sender in signals.read():
                    if number == signal.SIGCHLD:
                        continue
                    if number in STOPPING:
                        asked_to_stop = number
                    if number == signal.SIGCONT:
                        asked_to_stop = 0
                        is_news = self._is_stopped()  # a shell continues all processes of a job
                    else:
                        is_news = code <= 0 and sender != self._receiver()
                    if is_news:
                        for each in (self, *others):
                            each.send_signal(number)
                # It may have caught the signal; a SIGSTOP that comes without one is between it and the sender.
                if asked_to_stop and self._is_stopped():
                    before_stop()
                    with effective(asked_to_stop):
                        os.kill(os.getpid(), asked_to_stop)
                    asked_to_stop = 0

    def _is_stopped(self) -> bool:
        with suppress(OSError):
            return proc.stat(self.pid).state == "T"
        return False

    def _receiver(self) -> int:
        """The process that gets the signals."""
        return _first_child(self.pid) if self._through_strace else self.pid

    async def wait(self) -> int:
        """Wait for its end; returns its exit status, or 128 + the number of the signal that ended it, as a shell."""
        descriptor = os.pidfd_open(self.pid)
        try:
            await trio.lowlevel.wait_readable(descriptor)
        finally:
            os.close(descriptor)
        _, status = os.waitpid(self.pid, 0)
        self._has_ended = True
        code = os.waitstatus_to_exitcode(status)
        return code if code >= 0 else 128 - code


def _first_child(pid: int) -> int:
    """The first child of a process; the process itself if it has none."""
    with suppress(OSError):
        if children := proc.children(pid):
            return children[0]
    return pid


def _run(command: list[str], prepare: Callable[[], None] | None, stdout: int | None, gate: int) -> NoReturn:
    """The child process. It ends with exec or _exit, so that no code of the parent runs in it."""
    try:
        # Python changed these; a program expects the defaults.
        for number in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
        if stdout is not None:
            os.dup2(stdout, 1)
        if prepare is not None:
            prepare()
        if os.read(gate, 1):
            os.execvp(command[0], command)
    except OSError as error:
        os.write(2, f"shaper: can't run {command[0]}: {error.strerror}\n".encode())
    finally:
        os._exit(programs.CANNOT_RUN)
