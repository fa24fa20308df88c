"""Settings of live traffic that are one of a few words, in `Settings` and on the command line."""

from __future__ import annotations

from typing import Literal

OnError = Literal["stop", "continue"]
"""When a policy fails: end the run, or let packets pass by that policy."""

OnRulesLost = Literal["restore", "stop"]
"""When another program has removed rules: install them again, or end the run."""

WhenFull = Literal["open", "closed"]
"""When the queue is full: let packets pass unshaped, or drop them."""

Timing = Literal["precise", "balanced", "thrifty"]
"""How much CPU time punctuality is worth.

Precise: always the longest lead, and no gathering. Balanced: a lead as long as waking up took lately. Thrifty: no lead.
See `Waiting` and `Gathering`.
"""
