"""The memory that held packets, flows, and the replay of a capture take."""

import json
import os
import subprocess
import tempfile
from pathlib import Path
from struct import pack

from rich.table import Table

from bench.compiled import BenchError
from bench.plan import Figures, Found, Plan
from bench.subjects import HERE, NOT_COMPILED, SHAPER

CASES = {
    "a packet held by delay": ("held", "delay:10s", 100_000),
    "a packet held by delay, out of order": ("held", "delay:5s,jitter=1s,order=free", 100_000),
    "a flow, pass_through": ("flows", "pass_through", 40_000),
    "a flow, delay": ("flows", "delay:1ms", 40_000),
    "a TCP flow, both directions seen, delay": ("pairs", "delay:1ms", 40_000),
}
FLOOD = "a million flows, delay, MB in all"
CAPTURED = (100_000, 1_000_000)
COMPILED, NOT = "compiled", "not compiled"


def measure(plan: Plan) -> Figures:
    """What takes memory -> whether the core is compiled -> bytes for each, or MB in all."""
    figures: Figures = {}
    for build, command in ((COMPILED, SHAPER), (NOT, NOT_COMPILED)):
        for name, (case, spec, many) in CASES.items():
            figures.setdefault(name, {})[build] = run(command, case, spec, many)
        if not plan.quick:
            found = run(command, "flows", "delay:1ms", 1_000_000)
            figures.setdefault(FLOOD, {})[build] = {"mb": found["resident"] / 1e6}
            for packets in CAPTURED:
                figures.setdefault(replayed(packets), {})[build] = replay(command, packets)
    return figures


def expected(plan: Plan) -> float:
    return 30 if plan.quick else 150


def replayed(packets: int) -> str:
    """The name of the replay of a capture with this many packets."""
    return f"replay of {packets:,} packets, MB at most"


def run(command: str, case: str, spec: str, many: int) -> Found:
    """The figures of a case (see memory_cases.py) in a fresh process of the Python that this command has.

    Raises:
        BenchError: the case fails.
    """
    # -P: the shaper that is installed there, not the sources here.
    line = [str(Path(command).with_name("python")), "-P", str(HERE / "memory_cases.py"), case, spec, str(many)]
    done = subprocess.run(line, capture_output=True, text=True)
    if done.returncode:
        raise BenchError(f"{case} {spec}: {done.stderr.strip()[-500:]}")
    return {name: float(value) for name, value in json.loads(done.stdout).items()}


def replay(command: str, packets: int) -> Found:
    """The most memory that `shaper replay` has while it delays the packets of a capture."""
    with tempfile.TemporaryDirectory() as folder:
        capture = Path(folder) / "packets.pcap"
        write(capture, packets)
        line = [
            command,
            "replay",
            str(capture),
            "--policy",
            "delay:20ms",
            "--output",
            str(Path(folder) / "sent.pcapng"),
        ]
        process = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise BenchError(f"shaper replay ended with status {process.returncode}")
    return {"mb": usage.ru_maxrss * 1024 / 1e6}


def write(capture: Path, packets: int) -> None:
    """Write a capture of UDP packets of 64 bytes, 50 µs apart, of one flow."""
    raw = pack("!BBHHHBBH8sHHHH", 0x45, 0, 64, 0, 0, 64, 17, 0, bytes((10, 0, 0, 1, 10, 0, 0, 2)), 4000, 9999, 44, 0)
    raw = raw.ljust(64, b"\0")
    with capture.open("wb") as file:
        file.write(pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 1 << 16, 101))
        for number in range(packets):
            second, microsecond = divmod(number * 50, 1_000_000)
            file.write(pack("<IIII", second, microsecond, len(raw), len(raw)) + raw)


def tables(figures: Figures) -> list[Table]:
    table = Table(title="Memory, bytes each beyond a packet's own, unless it says MB", title_justify="left")
    table.add_column("what")
    for build in (COMPILED, NOT):
        table.add_column(build, justify="right")
    for name, found in figures.items():
        table.add_row(name, *(f"{value(found.get(build, {})):,.0f}" for build in (COMPILED, NOT)))
    return [table]


def value(found: Found) -> float:
    """The figure that the table shows."""
    return found["mb"] if "mb" in found else found["bytes"]
