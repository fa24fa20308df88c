"""./dev corpus: runs every file below a folder through `shaper replay` and `shaper report`, and says what is wrong.

What must hold: what comes out of `pass_through` equals the file, frame by frame; with a delay, each frame has its own
time, or that plus the delay; checksums are right in all packets that policies changed or made; the counts add up; an
error is one line; time and memory are bounded.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

from shaper.cli import main as shaper
from shaper.timeline import StoryError, parse
from tests.captures import pcap
from tests.checksums import are_right
from tests.frames import Frame, Reading, is_capture

MB = 1 << 20
DELAY = 10_000_000
RUNS = {
    "pass": ("pass_through",),
    "delay": ("delay:10ms",),
    "rewrite": ("window:size=1000", "mss:size=536"),
    "make": ("mtu:size=576,icmp=yes",),
}
"""The runs of `shaper replay` on a capture, by name, and their policies."""
SECONDS = 20
BYTES_A_SECOND = 200_000
"""A run may take `SECONDS`, and one more for each of these."""
MEMORY = 400 * MB
"""What a run may take, beside what Python and its modules take."""
SHOWN = 3
"""Faults of one run that are kept; the first differences say enough."""
TELLING = (
    "index out of range", "unpack requires", "unpack_from requires", "format requires", "has no attribute",
    "not subscriptable", "not iterable", "NoneType", "invalid literal", "codec can't", "Exceeds the limit",
    "embedded null", "recursion depth", "values to unpack", "positional argument", "convert string to float",
    "cannot fit", "too large to convert", "unhashable", "unsupported operand", "KeyError", "ValueError", "TypeError",
    "ConversionSyntax", "not supported between",
)  # fmt: skip
"""Words of Python's own errors, which must not reach a user."""


class Outcome(NamedTuple):
    """What a command did.

    Attributes:
        file: below the folder.
        run: a name in `RUNS`, "timeline" or "report".
        status: its exit status; negative: the signal that ended it.
        says: what it wrote to standard error.
        frames: frames of the capture; 0 for others.
        seconds: of time.
        mb: of memory, beside what Python and its modules take.
        faults: what is wrong, a line each.
    """

    file: str
    run: str
    status: int
    says: str
    frames: int
    seconds: float
    mb: float
    faults: list[str]

    @property
    def verdict(self) -> str:
        """ "fault", "refused" or "right"."""
        return "fault" if self.faults else "refused" if self.status else "right"


def main() -> int:
    """Run the command. Returns the exit status: 1 if there is a fault."""
    parser = argparse.ArgumentParser(prog="./dev corpus", description=str(__doc__).partition(": ")[2])
    parser.add_argument("folder", type=Path, metavar="DIR", help="its files and those in folders below")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all outcomes to FILE")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, metavar="N", help="processes at a time (CPUs)")
    options = parser.parse_args()
    if not options.folder.is_dir():
        parser.error(f"{options.folder} is no folder")
    files = list(things(options.folder))
    outcomes: list[Outcome] = []
    with ProcessPoolExecutor(options.jobs, initializer=prepare) as pool:
        waiting = [pool.submit(examine, file, str(file.relative_to(options.folder))) for file in files]
        for done, future in enumerate(as_completed(waiting), 1):
            outcomes += future.result()
            if sys.stderr.isatty():
                print(f"\r{done} of {len(files)}", end="", file=sys.stderr)
    outcomes.sort()
    print(summary(outcomes))
    if options.json:
        options.json.write_text(json.dumps([{**o._asdict(), "verdict": o.verdict} for o in outcomes], indent=1) + "\n")
    return 1 if any(outcome.faults for outcome in outcomes) else 0


def things(folder: Path) -> Iterator[Path]:
    """The files below a folder, and in place of an LTTng trace's files its directory."""
    for path in sorted(folder.rglob("*")):
        in_trace = any((above / "metadata").is_file() for above in path.parents)
        if (path / "metadata").is_file() or (path.is_file() and not in_trace):
            yield path


def examine(path: Path, name: str) -> list[Outcome]:
    """All runs on one file."""
    runs = [*RUNS, "timeline"] if path.is_file() and is_capture(path) else ["pass"] if path.is_file() else []
    outcomes: list[Outcome] = []
    for run in [*runs, "report"]:
        if run == "report" or not outcomes or outcomes[0].status < 2:
            outcomes.append(_examined(path, name, run))
    return outcomes


def _examined(path: Path, name: str, run: str) -> Outcome:
    with tempfile.TemporaryDirectory() as folder:
        out, summary = Path(folder) / "out.pcapng", Path(folder) / "summary.json"
        arguments = ["report", str(path)]
        if run != "report":
            specs = RUNS.get(run, RUNS["pass"])
            arguments = [
                "replay",
                str(path),
                f"--json={summary}",
                *(word for spec in specs for word in ("--policy", spec)),
            ]
            arguments += ["--timeline"] if run == "timeline" else ["-o", str(out)]
        size = sum(file.stat().st_size for file in ([path] if path.is_file() else path.iterdir()))
        ran = run_command(arguments, SECONDS + size // BYTES_A_SECOND)
        faults = list(faults_of(ran))
        frames = 0
        if not faults and run in RUNS and out.exists():
            reading = Reading(path)
            came = list(reading)
            frames = len(came)
            faults += list(compare(run, came, list(Reading(out))))[:SHOWN]
            faults += counted(json.loads(summary.read_text()), came)
            if reading.damaged and ran.status == 0:
                faults.append("the file is cut off or damaged, and the status is 0")
            if not reading.damaged and ran.status:
                faults.append(f"the file is whole, and the status is {ran.status}: {ran.says}")
        elif not faults and run == "timeline":
            faults += unreadable(ran.printed)
    return Outcome(name, run, ran.status, ran.says, frames, ran.seconds, ran.mb, faults)


def prepare() -> None:
    """Import what the commands need, by using them, so that each run need not."""
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        capture, log = Path(folder) / "empty.pcap", Path(folder) / "empty.strace"
        capture.write_bytes(pcap([]))
        log.write_text("1 1700000000.000000 read(3, , 9) = 0 <0.000001>\n")
        out, summary = str(Path(folder) / "out.pcapng"), str(Path(folder) / "summary.json")
        specs = [word for policies in RUNS.values() for spec in policies for word in ("--policy", spec)]
        shaper(["replay", str(capture), *specs, "-o", out, f"--json={summary}", "--timeline"])
        shaper(["report", str(log)])


class Ran(NamedTuple):
    """A command that has ended; see `Outcome`."""

    status: int
    printed: str
    says: str
    seconds: float
    mb: float


def run_command(arguments: list[str], seconds: int) -> Ran:
    """Run a command of shaper in a process of its own, forked from this one."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        begin, before = time.monotonic(), int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
        pid = os.fork()
        if pid == 0:
            status = 70
            try:
                os.dup2(out.fileno(), 1)
                os.dup2(err.fileno(), 2)
                signal.signal(signal.SIGALRM, signal.SIG_DFL)
                signal.alarm(seconds)
                resource.setrlimit(resource.RLIMIT_AS, (4096 * MB, 4096 * MB))
                with open(1, "w") as sys.stdout, open(2, "w") as sys.stderr:
                    try:
                        status = shaper(arguments)
                    except BaseException:
                        traceback.print_exc()
            finally:
                os._exit(status)
        _, status, used = os.wait4(pid, 0)
        took = time.monotonic() - begin
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode(errors="replace"))
        mb = max(0, used.ru_maxrss * 1024 - before) / MB
        return Ran(os.waitstatus_to_exitcode(status), texts[0], texts[1].strip(), took, mb)


def faults_of(ran: Ran) -> Iterator[str]:
    """What is wrong with a command, whatever it was to do."""
    last = ran.says.splitlines()[-1:]
    if ran.status == -signal.SIGALRM:
        yield f"took longer than {ran.seconds:.0f} s"
    elif "Traceback" in ran.says or ran.status not in (0, 1, 2):
        yield f"status {ran.status}, {''.join(last)}"
    elif ran.status and len(ran.says.splitlines()) != 1:
        yield f"status {ran.status}, and {len(ran.says.splitlines())} lines say why: {ran.says!r}"
    elif word := next((word for word in TELLING if word in ran.says), None):
        yield f"Python's own words, '{word}': {ran.says}"
    if ran.mb * MB > MEMORY:
        yield f"took {ran.mb:.0f} MB"


def compare(run: str, came: list[Frame], went: list[Frame]) -> Iterator[str]:
    """What is wrong with the frames that went out."""
    if run == "pass":
        yield from differences(came, went)
    elif run == "delay":
        yield from wrong_delays(came, went)
    elif run == "rewrite":
        for number, (before, after) in enumerate(zip_longest(came, went), 1):
            if before is None or after is None:
                yield f"{len(came)} frames came, {len(went)} went"
                return
            if before.data != after.data:
                at = next((i for i, (a, b) in enumerate(zip(before.data, after.data, strict=False)) if a != b), 0)
                if not are_right(after.data, at):
                    yield f"frame {number} was changed at byte {at}, and a checksum is wrong"
                if (before.length, len(before.data)) != (after.length, len(after.data)):
                    yield f"frame {number} was changed, and its length, too"
    else:
        known = Counter((frame.link, frame.data) for frame in came)
        for frame in went:
            if not known[frame.link, frame.data] and not are_right(frame.data):
                yield f"a frame that a policy made has a wrong checksum: {frame.data.hex()[:120]}"


def differences(came: Iterable[Frame], went: Iterable[Frame]) -> Iterator[str]:
    """Where the frames differ."""
    for number, (before, after) in enumerate(zip_longest(came, went), 1):
        if before is None or after is None:
            yield f"frame {number} is {'missing' if after is None else 'one too many'}"
            return
        for name, a, b in zip(Frame._fields, before, after, strict=True):
            if a != b and a is not None:
                a, b = (f"{len(x)} bytes {x.hex()[:80]}" if isinstance(x, bytes) else x for x in (a, b))
                yield f"frame {number}: {name} {a} came, {b} went"


def wrong_delays(came: list[Frame], went: list[Frame]) -> Iterator[str]:
    """Frames that are not at their own time, nor at that and the delay."""
    if len(came) != len(went):
        yield f"{len(came)} frames came, {len(went)} went"
    times: dict[tuple[int, bytes], list[int]] = {}
    for frame in went:
        times.setdefault((frame.link, frame.data), []).append(frame.at or 0)
    for number, frame in enumerate(came, 1):
        left = times.get((frame.link, frame.data), [])
        found = next((at for at in (frame.at, (frame.at or 0) + DELAY) if at in left), None)
        if found is None and frame.at is not None:
            yield f"frame {number} of {frame.at} ns went at {left[:1]}"
        elif found is not None:
            left.remove(found)


def counted(document: dict[str, Any], came: list[Frame]) -> list[str]:
    """What is wrong with the counts of the summary."""
    taken, gone = document["taken"], document["sent"] + document["dropped"]
    wrong = [f"{taken} packets taken, {gone} sent or dropped"] if taken != gone else []
    wrong += [f"{taken} packets taken of {len(came)} frames"] if taken > len(came) else []
    wrong += [f"{document['cut_short']} cut short"] if document["cut_short"] else []
    return wrong + list(document["failures"])


def unreadable(printed: str) -> list[str]:
    """What is wrong with a printed timeline."""
    try:
        parse(printed.partition("\n\n")[0])
    except StoryError as error:
        return [f"the timeline can't be read again: {error}"]
    return []


def summary(outcomes: list[Outcome]) -> str:
    """Tables of the outcomes: numbers by run, why files were refused, and all faults."""
    lines = [f"{len({outcome.file for outcome in outcomes})} files", ""]
    lines.append(f"{'':10} {'right':>7} {'refused':>8} {'fault':>6} {'frames':>9} {'longest':>9} {'most':>8}")
    for run in (*RUNS, "timeline", "report"):
        ours = [outcome for outcome in outcomes if outcome.run == run]
        if ours:
            found = Counter(outcome.verdict for outcome in ours)
            most, longest = max(outcome.mb for outcome in ours), max(outcome.seconds for outcome in ours)
            frames = sum(outcome.frames for outcome in ours)
            lines.append(
                f"{run:10} {found['right']:7} {found['refused']:8} {found['fault']:6} {frames:9} "
                f"{longest:7.1f} s {most:5.0f} MB"
            )
    reasons: dict[str, Counter[str]] = {}
    for outcome in outcomes:
        if outcome.verdict == "refused":
            reasons.setdefault(_without_path(outcome), Counter())[outcome.run] += 1
    lines += ["", "refused:"]
    for reason, runs in sorted(reasons.items(), key=lambda item: (-max(item[1].values()), item[0])):
        lines.append(f"{max(runs.values()):6}  {reason} ({', '.join(runs)})")
    faults = [f"{o.file}: {o.run}: {fault}" for o in outcomes for fault in o.faults]
    return "\n".join([*lines, "", f"faults: {len(faults)}", *faults])


def _without_path(outcome: Outcome) -> str:
    """What a command said, the same for all files."""
    words = outcome.says.removeprefix("shaper: ").split()
    return " ".join(re.sub(r"\S*" + re.escape(outcome.file), "FILE", word) for word in words)


if __name__ == "__main__":
    sys.exit(main())
