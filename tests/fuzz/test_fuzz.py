"""Damaged inputs: each is read, or refused in one line; within a time and a memory, and without Python's own errors."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import traceback
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from io import BytesIO, TextIOWrapper
from pathlib import Path
from random import Random
from subprocess import DEVNULL

import pytest

from shaper.cli import main
from tests.corpus import MB, TELLING
from tests.fuzz.mutate import mutated
from tests.fuzz.readers import READERS, SLOW_READERS, Reader

TRIES, SLOW_TRIES = 10_000, 1_000
"""Inputs of each kind with `./dev soak`."""
SECONDS = 10
"""A command may take."""
MEMORY = 512 * MB
"""All commands of one kind may take, beside what Python and its modules take. A length field may say 4 GB."""
SHOWN = 5


@pytest.mark.parametrize("kind", READERS)
def test_damaged_inputs_are_read_or_refused_in_one_line(
    kind: str, tmp_path: Path, count: Callable[[int], int], figure: Callable[[str, str], None]
) -> None:
    check(kind, READERS[kind], tmp_path, count(TRIES), figure)


@pytest.mark.parametrize("kind", SLOW_READERS)
@pytest.mark.skipif(shutil.which("babeltrace2") is None, reason="needs babeltrace2")
def test_damaged_lttng_traces_are_read_or_refused_in_one_line(
    kind: str, tmp_path: Path, count: Callable[[int], int], figure: Callable[[str, str], None]
) -> None:
    check(kind, SLOW_READERS[kind], tmp_path, count(SLOW_TRIES), figure)


@pytest.mark.parametrize("kind", [*READERS, *SLOW_READERS])
def test_sound_inputs_are_read(kind: str, tmp_path: Path) -> None:
    reader = {**READERS, **SLOW_READERS}[kind]
    if kind in SLOW_READERS and shutil.which("babeltrace2") is None:
        pytest.skip("needs babeltrace2")
    refused = [said for seed in reader.seeds if (said := wrong(reader, seed, 0, tmp_path, may_refuse=False))]
    # Some netem lines are refused, options that need a file beside the stories, and captures of other kinds.
    assert len(refused) <= len(reader.seeds) / 2, refused


def check(kind: str, reader: Reader, folder: Path, tries: int, figure: Callable[[str, str], None]) -> None:
    """Try so many inputs in a process of its own, whose memory is limited."""
    found = folder / "faults.json"
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            limit = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() + MEMORY
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
            found.write_text(json.dumps(list(faults(kind, reader, folder, tries))))
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    _, code = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(code) == 0
    faulty = json.loads(found.read_text())
    assert not faulty, "\n".join([f"{len(faulty)} of {tries} {kind}, kept in {folder}:", *faulty[:SHOWN]])
    figure(f"damaged {kind}", f"{tries:,}: each read, or refused in one line")


def faults(kind: str, reader: Reader, folder: Path, tries: int) -> Iterator[str]:
    """What is wrong, a line for each input, which is kept."""
    for number in range(tries):
        random = Random(f"{kind} {number}")
        data = mutated(random.choice(reader.seeds), random, reader.words)
        if fault := wrong(reader, data, number, folder):
            kept = folder / f"fault-{number}"
            kept.write_bytes(data)
            yield f"{kept.name}: {' '.join(reader.arguments(folder / 'input.dist', number))[:200]}: {fault}"


class TookLong(BaseException):
    """A command didn't end in time."""


def wrong(reader: Reader, data: bytes, number: int, folder: Path, *, may_refuse: bool = True) -> str:
    """What is wrong with the command that reads this input; empty if nothing is."""
    path = folder / "input.dist"
    path.write_bytes(data)
    arguments = reader.arguments(path, number)
    texts = BytesIO(), BytesIO()
    # As Python opens them.
    out = TextIOWrapper(texts[0], "utf-8", "strict", write_through=True)
    err = TextIOWrapper(texts[1], "utf-8", "backslashreplace", write_through=True)
    before = os.environ["PATH"]
    os.environ["PATH"] = f"{folder}{os.pathsep}{before}"
    signal.signal(signal.SIGALRM, too_long)
    signal.alarm(SECONDS)
    try:
        with redirect_stdout(out), redirect_stderr(err):
            status = main(arguments)
    except TookLong:
        if babeltrace_hangs(folder / "ctf"):
            return ""
        return f"took longer than {SECONDS} s"
    except BaseException as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__}: {error} ({Path(place.filename).name}:{place.lineno})"
    finally:
        signal.alarm(0)
        os.environ["PATH"] = before
    said = texts[1].getvalue().decode()
    return said if status and not may_refuse else in_words(status, said)


def babeltrace_hangs(trace: Path) -> bool:
    """Whether babeltrace2 itself never ends: its version 2.1 reads some damaged packets again and again."""
    if not trace.is_dir():
        return False
    try:
        subprocess.run(["babeltrace2", str(trace)], stdout=DEVNULL, stderr=DEVNULL, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return True
    return False


def in_words(status: int, said: str) -> str:
    """What is wrong with an exit status and with what was written to standard error."""
    last = [line for line in said.splitlines() if line.startswith("shaper: ")]
    if status not in (0, 1, 2) or (status == 2 and not last) or len(last) > 1:
        return f"status {status}: {said[:200]!r}"
    word = next((word for word in TELLING if word in said), "")
    return f"Python's own words: {said[:300]}" if word else ""


def too_long(*_: object) -> None:
    raise TookLong
