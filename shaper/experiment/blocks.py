"""Blocks: each has every condition once, in an order of its own.

What changes slowly on the machine, such as its temperature or another load, then falls on all conditions alike.
"""

from __future__ import annotations

from collections.abc import Iterable
from random import Random
from typing import TypeVar

T = TypeVar("T")


def block(conditions: Iterable[T], seed: str, number: int) -> list[T]:
    """The conditions in the order of this block, from 0, which the seed decides."""
    order = list(conditions)
    Random(f"{seed} {number}").shuffle(order)
    return order
