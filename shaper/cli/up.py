"""`shaper up`: several places shaped at once, as a file says."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple, NoReturn

import typer

from shaper.errors import ShaperError, UsageError

if TYPE_CHECKING:
    import trio

    from shaper.places.file import Shaped
    from shaper.places.pods import Pod, Pods

EXAMPLES = (
    "sudo shaper up shaping.toml",
    "shaper up shaping.toml --check",
)

LOOKS = 2
"""Seconds between two looks which pods there are."""
AGAIN = 10
"""Seconds until a pod is tried again whose `shaper start` has ended, though the pod is there."""
LONGEST = 64
"""Characters of a shaper's name."""
ONE = """
import sys
from shaper.linux.libc import PR_SET_PDEATHSIG, prctl
prctl(PR_SET_PDEATHSIG, 15)
from shaper.cli import main
sys.exit(main(sys.argv[1:]))
"""
"""A `shaper start` that ends in order when its parent dies."""
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
"""What each `shaper start` gets too."""


class Process(NamedTuple):
    """One `shaper start`.

    Attributes:
        name: of its table.
        pid: the process.
        output: the descriptor from which its output is read.
    """

    name: str
    pid: int
    output: int


def up(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE.toml", help="A table for each place: the options of `shaper start` as keys."),
    ],
    check: Annotated[
        bool, typer.Option("--check", help="Check the file, print what would be started, and do nothing else.")
    ] = False,
) -> int:
    """Shape several places at once, as a file says, until Ctrl-C.

    Each table of the file is a `shaper start` of its own, with the table's name. Their
    lines begin with it, and `shaper status`, `set` and `stop` take it. The exit status
    is the highest of theirs.
    """
    from shaper.linux import programs
    from shaper.places.container import CRI
    from shaper.places.file import read

    found = read(str(file))
    if check:
        for one in found:
            where = f" in each pod with {labels_text(one.pods)}" if one.pods else ""
            print(f"{one.name}: shaper start {shlex.join(one.options)}{where}")
        return 0
    import trio

    followed = [one for one in found if one.pods is not None]
    if followed and programs.find(CRI) is None:
        raise UsageError(f"pods are found by {CRI}, which is not installed")
    # Before trio runs, and before there is another thread.
    processes = [start(one) for one in found if one.pods is None]
    return trio.run(supervise, processes, followed)


def start(shaped: Shaped) -> Process:
    """Fork one `shaper start`, which ends in order when this process dies."""
    reading, writing = os.pipe()
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        be(shaped, writing)
    os.close(writing)
    return Process(shaped.name, pid, reading)


def be(shaped: Shaped, output: int) -> NoReturn:
    """Be that process.

    Args:
        shaped: its table.
        output: the descriptor that all its output goes to.
    """
    from shaper.cli import main
    from shaper.linux.libc import PR_SET_PDEATHSIG, prctl

    status = 1
    try:
        # A terminal's Ctrl-C comes from the one that supervises, once.
        os.setpgid(0, 0)
        prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        for descriptor in (sys.stdout.fileno(), sys.stderr.fileno()):
            os.dup2(output, descriptor)
        os.close(output)
        status = main([*manner(), "start", *shaped.options])
    finally:
        sys.stdout.flush()
        os._exit(status)


def manner() -> list[str]:
    """The options by which each of them says as much or as little as this command."""
    from shaper.cli.parsing import QUIET, VERBOSE
    from shaper.report.output import IS_QUIET
    from shaper.verbose import IS_VERBOSE

    return [*[QUIET[0]] * IS_QUIET.get(), *[VERBOSE] * IS_VERBOSE.get()]


def start_in(shaped: Shaped, pod: Pod) -> Process:
    """One `shaper start` in a pod, while trio runs."""
    name = name_in(shaped.name, pod.name)
    reading, writing = os.pipe()
    arguments = [*manner(), "start", *shaped.options, f"--name={name}", f"--pid={pod.pid}"]
    pid = os.posix_spawn(
        sys.executable,
        [sys.executable, "-P", "-c", ONE, *arguments],
        os.environ,
        file_actions=[(os.POSIX_SPAWN_DUP2, writing, descriptor) for descriptor in (1, 2)],
        setpgroup=0,
    )
    os.close(writing)
    return Process(name, pid, reading)


def name_in(table: str, pod: str) -> str:
    """What the shaper of a pod is called. Of a long name the end is kept, by which pods of one kind differ."""
    name = f"{table}.{pod}"
    return name if len(name) <= LONGEST else f"{table[:20]}.{pod[21 - LONGEST :].lstrip('-.')}"


def labels_text(pods: Pods) -> str:
    """The labels and the namespace of pods, in words."""
    labels = ",".join(f"{key}={value}" for key, value in pods.labels.items())
    return f"{labels} in {pods.namespace}" if pods.namespace is not None else labels


async def supervise(processes: list[Process], followed: list[Shaped]) -> int:
    """Print what they say until all have ended; returns the highest status of the processes.

    Args:
        processes: those that run.
        followed: for the pods of these, one is started whenever a pod begins to run, until a signal comes.
    """
    import trio

    running = {process.pid for process in processes}
    statuses = [0]
    width = max(len(name) for name in [*(one.name for one in processes), *(one.name for one in followed)])
    following = trio.CancelScope()

    def say(name: str, line: str) -> None:
        print(f"{name:{width}} | {line}", flush=True)

    async def watch(process: Process) -> int:
        rest = b""
        async with trio.lowlevel.FdStream(process.output) as stream:
            async for some in stream:
                *lines, rest = (rest + some).split(b"\n")
                for line in lines:
                    say(process.name, line.decode(errors="replace"))
        running.remove(process.pid)
        _, status = await trio.to_thread.run_sync(os.waitpid, process.pid, 0)
        code = os.waitstatus_to_exitcode(status)
        if code:
            say(process.name, f"ended with status {code}" if code > 0 else f"was ended by signal {-code}")
        return code if code >= 0 else 1

    async def watch_one(process: Process) -> None:
        statuses.append(await watch(process))

    async def follow(shaped: Shaped, nursery: trio.Nursery) -> None:
        assert shaped.pods is not None
        resting: dict[str, float] = {}  # until when, by pod; without end while it is shaped
        trouble = ""

        async def shape(pod: Pod) -> None:
            process = start_in(shaped, pod)
            running.add(process.pid)
            await watch(process)
            resting[pod.identity] = trio.current_time() + AGAIN

        while True:
            pods: list[Pod] = []
            try:
                pods, found = await trio.to_thread.run_sync(shaped.pods.find, abandon_on_cancel=True), ""
            except ShaperError as error:
                found = str(error)
            if found not in ("", trouble):
                say(shaped.name, found)
            trouble = found
            for pod in pods:
                if trio.current_time() < resting.get(pod.identity, 0):
                    continue
                resting[pod.identity] = float("inf")
                if pod.pid:
                    nursery.start_soon(shape, pod)
                else:
                    say(shaped.name, f"pod {pod.name} has the node's network, and is left alone")
            await trio.sleep(LOOKS)

    async def pass_signals_on(*, task_status: trio.TaskStatus[None]) -> None:
        with trio.open_signal_receiver(*SIGNALS) as signals:
            task_status.started()
            async for number in signals:
                if number != signal.SIGUSR1:
                    following.cancel()
                for pid in running:
                    os.kill(pid, number)

    async with trio.open_nursery() as nursery:
        await nursery.start(pass_signals_on)
        async with trio.open_nursery() as watching:
            for process in processes:
                watching.start_soon(watch_one, process)
            with following:
                async with trio.open_nursery() as looking:
                    for shaped in followed:
                        looking.start_soon(follow, shaped, watching)
        nursery.cancel_scope.cancel()
    return max(statuses)
