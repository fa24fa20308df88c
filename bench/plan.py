"""How much to measure, and in which order."""

import statistics
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, TypeVar

from bench.programs import BenchError

T = TypeVar("T")
Figures = dict[str, Any]
"""What a benchmark found: condition -> subject -> figure -> value."""


class Plan(NamedTuple):
    """`rounds`: how often each is measured; medians are printed. `seconds`: of a sustained run."""

    rounds: int = 5
    seconds: float = 10
    quick: bool = False


def say(text: str) -> None:
    print(f"bench: {text}", file=sys.stderr, flush=True)


def interleave(
    rounds: int, subjects: Sequence[T], measure: Callable[[T], dict[str, float]], name: Callable[[T], str]
) -> dict[str, dict[str, float]]:
    """Measure each subject once per round, and the medians of what was found; a subject that can't run is left out.

    The order turns by one from round to round, so that nobody always runs after the same neighbour.
    """
    found: dict[str, list[dict[str, float]]] = {}
    for nth in range(rounds):
        turn = nth % len(subjects)
        for subject in [*subjects[turn:], *subjects[:turn]]:
            try:
                figures = measure(subject)
            except BenchError as error:
                say(f"not measured: {name(subject)}: {error}")
                continue
            say(f"round {nth + 1}, {name(subject)}: " + ", ".join(f"{k} {v:,.6g}" for k, v in figures.items()))
            found.setdefault(name(subject), []).append(figures)
    return {name(subject): medians(found[name(subject)]) for subject in subjects if name(subject) in found}


def medians(rounds: Iterable[dict[str, float]]) -> dict[str, float]:
    """The median of each figure over the rounds in which it was found."""
    values: dict[str, list[float]] = {}
    for figures in rounds:
        for key, value in figures.items():
            values.setdefault(key, []).append(value)
    return {key: statistics.median(each) for key, each in values.items()}
