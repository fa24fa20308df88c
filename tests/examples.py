"""How many examples Hypothesis tries of a test."""

from hypothesis import settings

USUAL, FULL = 20, 300
"""Of a test that doesn't say how many: with `./dev test`, and with `./dev soak`."""
STATED_FOR = 50
"""What a test says holds where the others have so many."""


def examples(number: int) -> settings:
    """A test of this many examples, and of as many times more with `./dev soak` as any other."""
    return settings(max_examples=max(1, number * settings().max_examples // STATED_FOR))
