"""A command that waits until it is released, so that its first packet is shaped."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

import trio

from shaper.linux import proc, programs

PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals to this process that are for the command it runs."""


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
                os.kill(_first_child(self.pid) if self._through_strace else self.pid, number)

    async def pass_signals_on(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Send the command the signals of `PASSED_ON` that this process receives; for `trio.Nursery.start`.

        A Ctrl-C reaches the command once: a terminal sends it to all processes in its foreground.
        """
        with trio.open_signal_receiver(*PASSED_ON) as received:
            task_status.started()
            async for number in received:
                if number != signal.SIGINT or not _is_in_foreground():
                    self.send_signal(number)

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


def _is_in_foreground() -> bool:
    """Whether this process is in the foreground of its terminal."""
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    finally:
        os.close(terminal)


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
