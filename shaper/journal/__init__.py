"""The journal: what happened to each packet, as JSON lines.

The first line is the header, each further line one packet's verdict or one signal, in
the order in which they were given. The format is that of `schemas/journal.json`.
"""

from shaper.journal.line import VERSION, Clocks, Header, Held, Record
from shaper.journal.read import JournalError, read_journal, read_signals
from shaper.journal.write import Journal

__all__ = [
    "VERSION",
    "Clocks",
    "Header",
    "Held",
    "Journal",
    "JournalError",
    "Record",
    "read_journal",
    "read_signals",
]
