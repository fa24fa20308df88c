"""`python -m shaper.trace.record.copier ORDER`: the recorder's second process, which empties the buffers.

It says "ready" on its standard output, and ends when its standard input does: when the
recorder says so, or is killed. Then it stops the tracing, copies what is left, describes
the recording and removes the instances.
"""

from __future__ import annotations

import json
import os
import select
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, BinaryIO

from shaper.trace.read.events import TraceError
from shaper.trace.read.recording import DESCRIPTION, SNAPSHOTS, VERSION
from shaper.trace.read.ring import read_format
from shaper.trace.record.snapshot import Snapshots
from shaper.trace.record.tracefs import Instance

INTERVAL_MS = 50
PATIENCE = 2.0  # seconds
# Timer functions that wake tasks, or interrupt them often.
FUNCTIONS = (
    "hrtimer_wakeup", "posix_timer_fn", "it_real_fn", "timerfd_tmrproc", "qdisc_watchdog", "tick_nohz_handler",
    "tick_sched_timer", "tcp_pace_kick", "alarmtimer_fired", "sched_rt_period_timer",
)  # fmt: skip


def main(order: Mapping[str, Any]) -> None:
    """Copy until the end of the input.

    Args:
        order: tracefs; instances by name; events by instance; directory; pids.
    """
    directory = Path(order["directory"])
    instances = {name: Instance(Path(path)) for name, path in order["instances"].items()}
    try:
        with ExitStack() as opened:
            copies = [copy for name, instance in instances.items() for copy in _open(directory, name, instance, opened)]
            snapshots = opened.enter_context((directory / SNAPSHOTS).open("w"))
            proc = Snapshots(order["pids"])
            size = os.sysconf("SC_PAGE_SIZE")
            over = select.poll()
            over.register(0, select.POLLIN | select.POLLHUP)
            with suppress(BrokenPipeError):  # a recorder that was killed meanwhile; its recording is ended in order
                os.write(1, b"ready\n")
            ended = False
            while not ended:
                ended = bool(over.poll(INTERVAL_MS))
                if ended:
                    for instance in instances.values():
                        instance.write("tracing_on", "0")
                snapshots.writelines(json.dumps(entry) + "\n" for entry in proc.look())
                for pipe, file in copies:
                    _copy(pipe, file, size)
            # First, so that what was copied can be read whatever comes now.
            _describe(directory, order, instances)
            _copy_rest(copies, size)
    finally:
        for instance in instances.values():
            instance.remove()


def _open(directory: Path, name: str, instance: Instance, opened: ExitStack) -> Iterator[tuple[int, BinaryIO]]:
    folder = directory / name
    folder.mkdir()
    for cpu in instance.cpus():
        file = opened.enter_context((folder / f"cpu{cpu}.raw").open("wb"))
        pipe = instance.open_pipe(cpu)
        opened.callback(os.close, pipe)
        yield pipe, file


def _copy(pipe: int, file: BinaryIO, size: int) -> bool:
    """Copy the pages that are there; whether that was all."""
    try:
        while page := os.read(pipe, size):
            file.write(page)
    except BlockingIOError:
        return True
    # Nothing was given, yet the buffer is not empty: an event is still being written.
    return False


def _copy_rest(copies: Sequence[tuple[int, BinaryIO]], size: int) -> None:
    """Copy until all buffers are empty, which nobody fills any more."""
    deadline = time.monotonic() + PATIENCE
    for pipe, file in copies:
        while not _copy(pipe, file, size):
            if time.monotonic() > deadline:
                raise TraceError("a buffer of the kernel's tracer could not be emptied; please try again")
            time.sleep(0.001)  # the event that is being written takes less


def _describe(directory: Path, order: Mapping[str, Any], instances: Mapping[str, Instance]) -> None:
    formats = {
        event.partition("/")[2]: read_format(instances[name].format(event))
        for name, events in order["events"].items()
        for event in events
    }
    description = {
        "v": VERSION,
        "machine": os.uname().machine,
        "page_size": os.sysconf("SC_PAGE_SIZE"),
        "formats": formats,
        "functions": dict(_addresses(FUNCTIONS)),
        "names": dict(_names(Path(order["tracefs"]))),
        "pids": order["pids"],
    }
    (directory / DESCRIPTION).write_text(json.dumps(description))


def _addresses(functions: Sequence[str]) -> Iterator[tuple[int, str]]:
    """Where the kernel has these functions, as far as it says."""
    with Path("/proc/kallsyms").open() as symbols:
        for line in symbols:
            fields = line.split()
            if fields[2] in functions and int(fields[0], 16):
                yield int(fields[0], 16), fields[2]


def _names(tracefs: Path) -> Iterator[tuple[int, str]]:
    """The names of tasks that the kernel saw last, and of all that run now."""
    for line in (tracefs / "saved_cmdlines").read_text().splitlines():
        tid, _, comm = line.partition(" ")
        yield int(tid), comm
    for path in Path("/proc").iterdir():
        if path.name.isdecimal():
            with suppress(OSError):
                yield int(path.name), (path / "comm").read_text().rstrip("\n")


if __name__ == "__main__":
    try:
        main(json.loads(sys.argv[1]))
    except Exception as error:
        sys.exit(str(error))
