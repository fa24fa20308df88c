"""LTTng kernel traces (CTF), read through the command babeltrace2.

The command's text output is an order of magnitude faster than its Python binding, which
usually only the system's own Python can import anyway. Times are the trace clock's
cycles, which LTTng takes from CLOCK_MONOTONIC, in ns.

Sources: lttng-modules' instrumentation/events; babeltrace2-sink.text.pretty(7).
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryFile

from shaper.trace.read.events import TraceError, TraceEvent
from shaper.trace.read.lttng_fields import FIELD, converter

LINE = re.compile(r"\[0*(\d+)\] (?:\S+ )?(\w+): \{ cpu_id = (\d+) \}, \{ (.*) \}$")
DISCARDED = re.compile(r"discarded (\d+) (event|packet)s?")
NESTED = frozenset({"net_dev_queue"})
RENAMED = {
    "irq_softirq_entry": "softirq_entry",
    "irq_softirq_exit": "softirq_exit",
    "timer_hrtimer_expire_entry": "hrtimer_expire_entry",
    "timer_hrtimer_expire_exit": "hrtimer_expire_exit",
    "lttng_statedump_process_state": "task",
    "lttng_statedump_file_descriptor": "file",
}


def read_lttng(path: Path) -> Iterator[TraceEvent]:
    """The events of an LTTng trace directory, in order; what was lost comes as `lost` at the end.

    Raises:
        TraceError: babeltrace2 is not installed, or can't read the trace to its end.
    """
    command = shutil.which("babeltrace2")
    if command is None:
        raise TraceError("reading an LTTng trace needs babeltrace2: apt install babeltrace2 (or your system's package)")
    with TemporaryFile("w+") as errors:
        reader = subprocess.Popen(
            [command, "--clock-cycles", "--no-delta", str(path)],
            stdout=subprocess.PIPE, stderr=errors, text=True, errors="replace",
        )  # fmt: skip
        assert reader.stdout is not None
        last = 0
        try:
            for event in read_lines(reader.stdout):
                last = event.at
                yield event
            status = reader.wait()
        finally:
            # Nobody may be reading on; the command would wait for us forever.
            reader.stdout.close()
            reader.kill()
            reader.wait()
        errors.seek(0)
        said = errors.read()
    if status:
        where = f"after {last / 1e9:.6f} s" if last else "at its beginning"
        raise TraceError(f"{path}: the LTTng trace is cut or damaged {where}: {_cause(said)}")
    lost = sum(int(count) for count, _ in DISCARDED.findall(said))
    if lost:
        yield TraceEvent(last, 0, 0, "", "lost", {"count": lost})


def _cause(said: str) -> str:
    """The innermost cause in babeltrace2's pages of errors."""
    causes = [line.strip() for line in said.splitlines() if line.strip() and not line.startswith(("CAUSED", "ERROR"))]
    return causes[-1] if causes else "babeltrace2 failed"


def read_lines(lines: Iterator[str]) -> Iterator[TraceEvent]:
    """The events in babeltrace2's text; those that no analysis uses are left out."""
    running: dict[int, tuple[int, str]] = {}
    for line in lines:
        match = LINE.match(line)
        if match is None:
            continue
        at, name, cpu, rest = match.groups()
        number = int(cpu)
        if name.startswith("compat_"):
            name = name[7:]
        convert = converter(name)
        if convert is None:
            continue
        context, _, payload = rest.rpartition(" }, { ") if name not in NESTED else rest.partition(" }, { ")
        known = dict(FIELD.findall(context))
        if "tid" in known:
            tid, comm = int(known["tid"]), known.get("procname", "").strip('"')
        else:
            tid, comm = running.get(number, (0, ""))
        fields = convert(payload)
        if "pid" in known:
            fields["tgid"] = int(known["pid"])
        if name == "sched_switch":
            running[number] = fields["next_pid"], fields["next_comm"]
        for prefix in ("syscall_entry_", "syscall_exit_"):
            if name.startswith(prefix):
                fields.setdefault("syscall", name[len(prefix) :])
                name = "sys_enter" if prefix == "syscall_entry_" else "sys_exit"
        yield TraceEvent(int(at), number, tid, comm, RENAMED.get(name, name), fields)
