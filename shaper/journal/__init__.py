"""The journal: what happened to each packet, as JSON lines.

The first line is the header. Each further line is the verdict on one packet, one signal, or
a change of the pipeline, in the order in which they happened. `schemas/journal.json` has the format.
"""

from shaper.journal.line import FLUSH_INTERVAL, VERSION, Clocks, Header, Held, Record
from shaper.journal.names import names_of
from shaper.journal.read import JournalError, is_journal, read_changes, read_journal
from shaper.journal.write import Journal

__all__ = [
    "FLUSH_INTERVAL",
    "VERSION",
    "Clocks",
    "Header",
    "Held",
    "Journal",
    "JournalError",
    "Record",
    "is_journal",
    "names_of",
    "read_changes",
    "read_journal",
]
