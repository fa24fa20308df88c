"""What is said of a file that is known, but can't be read: what it is, and what to give instead."""

from __future__ import annotations

import re
from collections.abc import Iterable

STRACE = "strace -f -ttt -T -yy -o FILE COMMAND"
MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"PERFILE2", "the file of perf record; give the output of `perf script --header --ns --show-lost-events`"),
    (b"PERFFILE", "the file of an old perf record; give the output of `perf script`"),
    (b"\x17\x08\x44tracing", "a trace.dat of trace-cmd; give the output of `trace-cmd report`"),
    (b"\xd4\xc3\xb2\xa1", "a capture; see `shaper replay --help`"),
    (b"\xa1\xb2\xc3\xd4", "a capture; see `shaper replay --help`"),
    (b"\x4d\x3c\xb2\xa1", "a capture; see `shaper replay --help`"),
    (b"\x0a\x0d\x0d\x0a", "a capture; see `shaper replay --help`"),
    (b"\x1f\x8b", "compressed: gunzip it first"),
    (b"\x28\xb5\x2f\xfd", "compressed: unzstd it first"),
    (b"\xfd7zXZ\0", "compressed: unxz it first"),
    (b"BZh", "compressed: bunzip2 it first"),
    (b"PK\x03\x04", "a zip archive: unpack it first, and give the folder of the trace"),
    (b"7z\xbc\xaf\x27\x1c", "an archive: unpack it first, and give the folder of the trace"),
    (b"\x7fELF", "a program or a core file"),
    (b"\xc1\x1f\xfc\xc1", "one stream of a CTF trace; give the folder that holds its metadata"),
    (b"\xc1\xfc\x1f\xc1", "one stream of a CTF trace; give the folder that holds its metadata"),
    (b"\x75\xd1\x1d\x57", "the metadata of a CTF trace; give their folder"),
    (b"\x57\x1d\xd1\x75", "the metadata of a CTF trace; give their folder"),
    (b"/* CTF", "the metadata of a CTF trace; give their folder"),
)
TAR = 257
"""Where a tar archive has its magic, "ustar"."""
SUMMARY = "the summary of perf trace -s, without single calls; record without -s"
SCRIPT = "give the output of `perf script`"
TEXTS = tuple(
    (re.compile(pattern), said)
    for pattern, said in (
        (r"% time +seconds +usecs/call", f"the counts of strace -c, without single calls; record with {STRACE}"),
        (r" ?Summary of events:", SUMMARY),
        (r" +syscall +calls +(errors +)?total", SUMMARY),
        (r" +Task +\| +Runtime ms", f"the output of perf sched latency; {SCRIPT} of the same perf.data"),
        (r" +time +cpu +task name", f"the output of perf sched timehist; {SCRIPT} of the same perf.data"),
        (r"# Overhead|# Samples: ", f"the output of perf report; {SCRIPT} of the same perf.data"),
        (r" ?Performance counter stats for", f"the counts of perf stat; record with perf record, and {SCRIPT}"),
        (r"Attaching \d+ probes?\.\.\.|Attached \d+ probes?|@\w*\[.*\]: ", "the output of bpftrace, which has no "
         "form of its own; record with perf, trace-cmd, LTTng or strace"),
        (r"# tracer: (function|function_graph|wakeup\w*|irqsoff|preempt\w*|blk|mmiotrace|hwlat|osnoise|timerlat)\b",
         "a trace of {0} without events; enable sched_switch, sched_waking and raw_syscalls"),
        (r"(Error in |ERROR: ld\.so|ltrace:)", "not a known kind of trace"),
        (r'\{"v": ?\d+, "policies"', "a journal of shaper; give it with --journal beside a trace"),
        (r'\s*(\{\s*"traceEvents"|\[\s*\{\s*"(name|ph|pid|cat)")', "a trace for viewers in JSON, which has no waits; "
         "give what it was made from"),
        (r'\s*"linux-perf-json-version"', f"perf's data as JSON; {SCRIPT}"),
        (r"\s*<(!DOCTYPE )?html", "a page in HTML; give the trace that it was made from"),
    )
)  # fmt: skip


def why_binary(head: bytes) -> str:
    """What is known of a file that is no text, from its first bytes; "" if it may be text."""
    if not head:
        return "an empty file"
    for magic, said in MAGIC:
        if head.startswith(magic):
            return said
    return "a tar archive: unpack it first, and give the folder of the trace" if head[TAR : TAR + 5] == b"ustar" else ""


def why_refused(lines: Iterable[str]) -> str:
    """What is known of a text that no reader reads, from its first lines."""
    lines = list(lines)
    if lines and lines[0].startswith("# tracer: nop"):
        if any(line.strip() and not line.startswith("#") for line in lines):
            return (
                "its lines are not as tracefs prints them without the options raw, hex, bin and verbose, and with "
                "context-info"
            )
        return "a trace of tracefs without any event"
    for line in lines:
        for pattern, said in TEXTS:
            if (match := pattern.match(line)) is not None:
                return said.format(match[1] if match.re.groups else "")
    return (
        "not a known kind of trace; of perf.data, give the output of `perf script`, of trace.dat that of "
        "`trace-cmd report`"
    )
