"""Measures: the numbers that are taken from an outcome."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from shaper.errors import UsageError
from shaper.experiment.trial import Outcome
from shaper.journal import Record
from shaper.report.blocking import call_name
from shaper.units import ms

DURATION = "duration"
"""The measure that every trial has: how long the command took, or a workload's client."""
JSON = ".json"
"""What the name of a file ends in that the command writes its numbers to."""
TRAFFIC = ("packets", "bytes", "retransmissions")
"""What is counted in the journal."""


class Measure(NamedTuple):
    """A number.

    Attributes:
        unit: "ms" for times; empty for counts, and for what a program says itself.
    """

    value: float
    unit: str


def pattern(text: str) -> re.Pattern[str]:
    r"""The expression of --measure, such as `(?P<rps>[\d.]+) requests/s`.

    Raises:
        UsageError: it can't be read, or names no group.
    """
    try:
        found = re.compile(text, re.MULTILINE)
    except re.error as error:
        raise UsageError(f"--measure '{text}' is no regular expression: {error}") from None
    if not found.groupindex:
        raise UsageError(f"--measure '{text}' names no group; write (?P<NAME>…) around the number")
    return found


def sources(texts: Sequence[str]) -> tuple[tuple[re.Pattern[str], ...], tuple[str, ...]]:
    """The values of --measure: the expressions, and the files that the command writes, which end in .json.

    Raises:
        UsageError: see `pattern`.
    """
    files = tuple(text for text in texts if text.endswith(JSON))
    return tuple(pattern(text) for text in texts if not text.endswith(JSON)), files


def measures(outcome: Outcome, patterns: tuple[re.Pattern[str], ...] = ()) -> dict[str, Measure]:
    """All measures of an outcome, by name.

    Those are its duration; how long the calls of a workload waited, as "server accept"; what the patterns find in the
    output, in its last match; the numbers in the files, as "latency.p50"; packets, bytes, and retransmissions of TCP.

    Raises:
        UsageError: what a pattern finds is no number, or a file is not JSON.
    """
    found = {DURATION: Measure(outcome.duration / ms, "ms")}
    for blocking in outcome.blockings:
        name = f"{blocking.role} {call_name(blocking)}"
        waited = (blocking.duration - blocking.before_client) / ms
        found[name] = Measure(found.get(name, Measure(0, "ms")).value + waited, "ms")
    for each in patterns:
        # Joined, they would begin a line of the one in the last line of the other.
        for text in (outcome.stdout, outcome.stderr):
            for match in each.finditer(text.decode(errors="replace")):
                found.update({name: Measure(number(value), "") for name, value in match.groupdict().items() if value})
    for file, content in outcome.files.items():
        try:
            found.update({name: Measure(value, "") for name, value in _numbers(json.loads(content), "")})
        except (ValueError, RecursionError) as error:
            raise UsageError(f"--measure: the command wrote {file}, which is not JSON: {error}") from None
    counts = len(outcome.records), sum(record.length for record in outcome.records), retransmissions(outcome.records)
    return found | {name: Measure(count, "") for name, count in zip(TRAFFIC, counts, strict=True)}


def _numbers(content: Any, name: str) -> Iterator[tuple[str, float]]:
    """All numbers in a document, each with its way from the top: "latency.p50", "runs.0"."""
    if isinstance(content, dict | list):
        for key, value in content.items() if isinstance(content, dict) else enumerate(content):
            yield from _numbers(value, f"{name}.{key}" if name else str(key))
    elif isinstance(content, int | float) and not isinstance(content, bool):
        yield name, float(content)


def number(text: str) -> float:
    """The number in what a pattern has found.

    Raises:
        UsageError: it is none.
    """
    try:
        return float(text.replace(",", ""))
    except ValueError:
        raise UsageError(f"--measure found '{text}', which is no number") from None


def retransmissions(records: tuple[Record, ...]) -> int:
    """How many TCP segments with payload, SYN or FIN were sent again: nothing in them is new.

    What a policy made counts not, and neither do probes of a closed window.
    """
    newest: dict[object, int] = {}
    count = 0
    for record in sorted(records, key=lambda record: record.arrived):
        if record.seq is None or record.fate == "injected" or record.kind not in ("data", "syn", "synack", "fin"):
            continue
        before = newest.get(record.flow)
        if before is not None and 0 <= (before - record.seq) % (1 << 32) < 1 << 31:
            count += 1
        else:
            newest[record.flow] = record.seq
    return count


def flags(outcome: Outcome, allowed: int = 1 * ms) -> Mapping[str, float]:
    """What makes a trial doubtful, each with its number: late, lost, bypassed, failed.

    Args:
        allowed: how late (ns) a packet in a hundred may be.
    """
    summary = outcome.summary
    lost = sum(summary[name] or 0 for name in ("lost_queue_full", "lost_buffer_full", "lost_to_reload"))
    found = {
        "late": summary["lateness"]["p99_ms"] if summary["lateness"]["p99_ms"] > allowed / ms else 0,
        "lost": lost,
        "bypassed": summary["bypassed"] or 0,
        "cut short": summary["cut_short"],
        "policy failed": summary["policy_failures"],
        "timed out": int(outcome.timed_out),
        "failed": 0 if outcome.timed_out else int(outcome.failed),
    }
    return {name: value for name, value in found.items() if value}
