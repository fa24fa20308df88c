"""The process of a lab. For each trial it forks another, and ends all that this one leaves behind.

Everything is loaded once. Nothing of a trial outlasts it: its policies, its engine and its network end with its
process, and the processes that its command has started become children of this one, which kills them.
"""

from __future__ import annotations

import gc
import os
import pickle
import select
import signal
import sys
from contextlib import closing, suppress
from multiprocessing.connection import Connection
from typing import NoReturn

from shaper.errors import ShaperError
from shaper.experiment.play import play
from shaper.experiment.trial import Trial
from shaper.linux import namespace, proc
from shaper.linux.libc import prctl
from shaper.linux.namespace import Private
from shaper.network.order import plain
from shaper.trace.read.events import TraceError
from shaper.trace.record.tracefs import Tracefs
from shaper.units import ms, s

PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
PATIENCE = 10 * s
"""A trial that isn't over this long after its time is killed: a policy hangs."""


def main(connection: int) -> None:
    """Run each trial that comes over the connection, until it is closed.

    First it is sent sys.path and the MTU of lo, and answers None or the error. The answer to a trial is an `Outcome` or
    a `ShaperError`, or empty if the process of the trial died.
    """
    with Connection(connection) as lab:
        sys.path[:], mtu = lab.recv()
        prctl(PR_SET_CHILD_SUBREAPER, 1)
        try:
            private = namespace.enter(mtu)
        except ShaperError as error:
            lab.send(plain(error))
            return
        lab.send(None)
        gc.freeze()
        while True:
            try:
                trial: Trial = lab.recv()
            except EOFError:
                return
            answer = _run(trial, private, mtu, lab)
            try:
                lab.send_bytes(answer)
            except BrokenPipeError:
                return


def _run(trial: Trial, private: Private, mtu: int, lab: Connection) -> bytes:
    """Run a trial in a process of its own; returns its answer."""
    answer = os.memfd_create("answer")
    pid = os.fork()
    if pid == 0:
        _be_trial(trial, private, mtu, answer)
    process = os.pidfd_open(pid)
    try:
        waiting = select.poll()
        waiting.register(process, select.POLLIN)
        waiting.register(lab, select.POLLIN)  # it says nothing during a trial, so this is its end
        waiting.poll((trial.timeout + PATIENCE) / ms)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        _end_children()
        if trial.trace:
            _end_recording()
        return os.pread(answer, os.fstat(answer).st_size, 0)
    finally:
        os.close(process)
        os.close(answer)


def _be_trial(trial: Trial, private: Private, mtu: int, answer: int) -> NoReturn:
    """The process of a trial, from its fork to its exit."""
    try:
        try:
            result: object = play(trial, private, mtu)
        except Exception as error:
            result = plain(error)
        with open(answer, "wb", closefd=False) as file:
            pickle.dump(result, file)
    finally:
        os._exit(0)


def _end_children() -> None:
    """End all processes that descend from this one: when one ends, its children become this one's."""
    while True:
        for pid in proc.children(os.getpid()):
            os.kill(pid, signal.SIGKILL)
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def _end_recording() -> None:
    """Remove what a recorder has left under tracefs, if it was killed."""
    with suppress(TraceError), closing(Tracefs()) as tracefs:
        tracefs.remove_leftovers()
