"""`python -m shaper.trace.record.copier ORDER`: the recorder's second process, which empties the buffers.

It prints "ready", and ends when its standard input does: because the recorder closed it,
or was killed. Then it stops the tracing, copies what is left, describes the recording and
removes the instances.
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

from shaper.linux import proc
from shaper.trace.read.events import TraceError
from shaper.trace.read.recording import DESCRIPTION, SNAPSHOTS, VERSION
from shaper.trace.read.ring import read_format
from shaper.trace.record.snapshot import Snapshots
from shaper.trace.record.tracefs import Instance

INTERVAL_MS = 50
"""How often the buffers are emptied and /proc is looked at."""
PATIENCE = 2.0
"""How long (s) to try to empty the buffers at the end."""
# Timer functions that wake tasks, or interrupt them often.
FUNCTIONS = (
    "hrtimer_wakeup", "posix_timer_fn", "it_real_fn", "timerfd_tmrproc", "qdisc_watchdog", "tick_nohz_handler",
    "tick_sched_timer", "tcp_pace_kick", "alarmtimer_fired", "sched_rt_period_timer",
)  # fmt: skip


def main(order: Mapping[str, Any]) -> None:
    """Copy until the end of the input.

    Args:
        order: tracefs: where it is mounted; instances: their directories by name; events: their names by instance;
            directory: of the recording; pids: of the traced processes; numbers: see `given_numbers`, or None.
    """
    directory = Path(order["directory"])
    instances = {name: Instance(Path(path)) for name, path in order["instances"].items()}
    try:
        with ExitStack() as opened:
            copies = [copy for name, instance in instances.items() for copy in _open(directory, name, instance, opened)]
            snapshots = opened.enter_context((directory / SNAPSHOTS).open("w"))
            snapshots_of = Snapshots(order["pids"])
            size = os.sysconf("SC_PAGE_SIZE")
            over = select.poll()
            over.register(0, select.POLLIN | select.POLLHUP)
            with suppress(BrokenPipeError):  # the recorder was killed meanwhile; its recording is still completed
                os.write(1, b"ready\n")
            ended = False
            while not ended:
                ended = bool(over.poll(INTERVAL_MS))
                if ended:
                    for instance in instances.values():
                        instance.write("tracing_on", "0")
                snapshots.writelines(json.dumps(entry) + "\n" for entry in snapshots_of.look())
                for pipe, file in copies:
                    _copy(pipe, file, size)
            # First the description: what was copied can then be read, whatever happens next.
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
    """Copy the pages that are there. Returns whether the buffer is empty."""
    try:
        while page := os.read(pipe, size):
            file.write(page)
    except BlockingIOError:
        return True
    # Nothing came, yet the buffer is not empty: an event is still being written.
    return False


def _copy_rest(copies: Sequence[tuple[int, BinaryIO]], size: int) -> None:
    """Copy until all buffers are empty; the tracing has stopped."""
    deadline = time.monotonic() + PATIENCE
    for pipe, file in copies:
        while not _copy(pipe, file, size):
            if time.monotonic() > deadline:
                raise TraceError("a buffer of the kernel's tracer could not be emptied; please try again")
            time.sleep(0.001)  # by then, the event has been written


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
        "names": dict(saved_names((Path(order["tracefs"]) / "saved_cmdlines").read_bytes())),
        "names_here": dict(_names_here()),
        "pids": order["pids"],
        "numbers": order["numbers"],
    }
    (directory / DESCRIPTION).write_text(json.dumps(description))


def _addresses(functions: Sequence[str]) -> Iterator[tuple[int, str]]:
    """The addresses of these functions, as far as the kernel shows them."""
    with Path("/proc/kallsyms").open("rb") as symbols:
        for line in symbols:
            fields = line.split()
            name = fields[2].decode(errors="replace")
            if name in functions and int(fields[0], 16):
                yield int(fields[0], 16), name


def _names_here() -> Iterator[tuple[int, str]]:
    """The names of all processes that run now."""
    for name in os.listdir("/proc"):
        if name.isdecimal():
            with suppress(OSError):
                yield int(name), proc.comm(int(name), int(name))


def saved_names(content: bytes) -> Iterator[tuple[int, str]]:
    """The names in tracefs' saved_cmdlines. They may hold any bytes; what follows a line feed is lost."""
    for line in content.split(b"\n"):
        tid, _, comm = line.partition(b" ")
        if tid.isdigit():
            yield int(tid), comm.decode(errors="replace")


if __name__ == "__main__":
    try:
        main(json.loads(sys.argv[1]))
    except Exception as error:
        sys.exit(str(error))
