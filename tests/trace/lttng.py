"""Unpacks the real LTTng traces in data/, and writes their packets as a journal."""

import json
import tarfile
from pathlib import Path

from shaper.journal import VERSION, Held, Record, read_journal
from shaper.trace.read.events import TraceEvent
from shaper.trace.read.lttng import read_lttng

DATA = Path(__file__).parent / "data"
ENGINE = 273  # the thread of the NFQUEUE loop in the trace


def unpack(name: str, where: Path) -> Path:
    """The directory of the trace "none", "netem" or "nfqueue"."""
    with tarfile.open(DATA / f"{name}.tar.xz") as archive:
        if hasattr(tarfile, "data_filter"):  # not in Python 3.11.3 and before
            archive.extraction_filter = tarfile.data_filter
        archive.extractall(where)
    return where / name


def read(name: str, where: Path) -> list[TraceEvent]:
    return list(read_lttng(unpack(name, where)))


def journal_of(packets: Path, journal: Path) -> list[Record]:
    """Write the log of the loop that held the packets as a journal, and read that."""
    rows = [json.loads(line) for line in packets.read_text().splitlines()]
    header = {
        "v": VERSION, "policies": ["hold 100 ms, the client's packets 100 ms apart"], "seed": "0", "paired": True,
        "clock": {"monotonic_ns": 0, "realtime_ns": 0},
    }  # fmt: skip
    lines = [json.dumps(header)]
    for row in sorted(rows, key=lambda row: row["released_ns"]):
        hold = Held("hold", row["planned_ns"] - row["arrival_ns"])
        line = {
            "v": VERSION, "id": row["id"], "flow": f"tcp {row['src']}:{row['sport']} > {row['dst']}:{row['dport']}",
            "class": _class(row), "flags": row["flags"], "seq": row["seq"], "ack": row["ack"], "len": row["ip_len"],
            "arrived_ns": row["arrival_ns"], "taken_ns": row["arrival_ns"], "fate": "sent",
            "planned_ns": row["planned_ns"], "verdict_begin_ns": row["released_ns"],
            "verdict_end_ns": row["verdict_done_ns"], "tid": ENGINE, "held": [hold._asdict()], "by": "",
        }  # fmt: skip
        lines.append(json.dumps(line))
    journal.write_text("\n".join(lines) + "\n")
    return read_journal(journal)[1]


def _class(row: dict[str, object]) -> str:
    flags = str(row["flags"])
    if flags == "S":
        return "syn"
    if flags == "SA":
        return "synack"
    if "F" in flags:
        return "fin"
    if row["tcp_payload"]:
        return "data"
    return "handshake-ack" if row["n"] == 2 else "pure-ack"
