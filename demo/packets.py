"""Print a journal as a table: each packet, when it came, how long it was held, when it went on."""

import sys
from pathlib import Path

from rich.console import Console

from shaper.journal import read_journal
from shaper.report.table import table
from shaper.units import ms

header, records = read_journal(Path(sys.argv[1]))
first = min(record.arrived for record in records)
client = next(record.flow for record in records if record.kind == "syn")
rows = []
for record in sorted(records, key=lambda record: record.arrived):
    sender = "client" if record.flow == client else "server"
    held = sum(hold.ns for hold in record.held) / ms
    by = record.by or " + ".join(hold.policy for hold in record.held) or "-"
    went = (record.end - first) / ms if record.fate != "dropped" else "dropped"
    rows.append(((record.arrived - first) / ms, sender, record.kind, record.length, held, by, went))

# 80 columns, however wide the terminal: the table is meant to be pasted.
console = Console(width=80, highlight=False)
console.print(table(("came (ms)", "from", "packet", "bytes", "held (ms)", "by", "went on (ms)"), rows))
