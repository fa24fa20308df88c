"""How much is measured, and in which order."""

import statistics
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, TypeVar

from bench.compiled import BenchError

T = TypeVar("T")
Found = dict[str, float]
"""What one measurement found: figure -> value."""
Figures = dict[str, Any]
"""What a benchmark found: condition -> subject -> figure -> value."""


class Plan(NamedTuple):
    """How much is measured.

    Attributes:
        rounds: how often each subject is measured; medians are printed.
        seconds: the length of a sustained run.
        quick: fewer conditions.
    """

    rounds: int = 5
    seconds: float = 10
    quick: bool = False


def say(text: str) -> None:
    """Print a line about the progress."""
    print(f"bench: {text}", file=sys.stderr, flush=True)


def interleave(
    rounds: int, subjects: Sequence[T], measure: Callable[[T], Found], name: Callable[[T], str]
) -> dict[str, Found]:
    """As `interleave_conditions` with one condition."""
    return interleave_conditions(rounds, subjects, lambda subject: [("", measure(subject))], name).get("", {})


def interleave_conditions(
    rounds: int,
    subjects: Sequence[T],
    measure: Callable[[T], Iterable[tuple[str, Found]]],
    name: Callable[[T], str],
) -> dict[str, dict[str, Found]]:
    """Measure each subject once per round, under one condition after another. Returns medians by condition and subject.

    What a subject can't do in most rounds is left out. From round to round the order rotates by one, so that
    no subject always runs first.
    """
    found: dict[str, dict[str, list[Found]]] = {}
    begin = time.monotonic()
    for nth in range(rounds):
        turn = nth % len(subjects)
        for place, subject in enumerate([*subjects[turn:], *subjects[:turn]]):
            done = nth * len(subjects) + place
            left = (time.monotonic() - begin) / done * (rounds * len(subjects) - done) if done else 0
            soon = f", {minutes(left)} left" if done else ""
            where = f"round {nth + 1} of {rounds}{soon}: {name(subject)}"
            try:
                for condition, figures in measure(subject):
                    at = f"{where}, {condition}" if condition else where
                    say(f"{at}: " + ", ".join(f"{key} {value:,.6g}" for key, value in figures.items()))
                    found.setdefault(condition, {}).setdefault(name(subject), []).append(figures)
            except BenchError as error:
                say(f"not measured: {name(subject)}: {error}")
    names = [name(subject) for subject in subjects]
    return {
        condition: {
            each: medians(measured[each]) for each in names if each in measured and 2 * len(measured[each]) >= rounds
        }
        for condition, measured in found.items()
    }


def medians(rounds: Iterable[Found]) -> Found:
    """The median of each figure over the rounds in which it was found; under "least …" and "most …" the extremes."""
    values: dict[str, list[float]] = {}
    for figures in rounds:
        for key, value in figures.items():
            values.setdefault(key, []).append(value)
    middle = {key: statistics.median(each) for key, each in values.items()}
    least = {f"least {key}": min(each) for key, each in values.items()}
    return middle | least | {f"most {key}": max(each) for key, each in values.items()}


def spread(found: Found, key: str, digits: int = 0) -> str:
    """A figure, with its extremes over the rounds, where they are known: "6 (5 to 8)"."""
    median, least, most = (
        f"{found[key]:,.{digits}f}" if key in found else "" for key in (key, f"least {key}", f"most {key}")
    )
    return f"{median} ({least} to {most})" if least and most and least != most else median


def minutes(seconds: float) -> str:
    """A duration for people."""
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
